"""Who may do what: a policy is one function, used for requests and for access reviews alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forensics_loopback.objects import Obj, clone
from forensics_loopback.requests import RequestInfo
from forensics_loopback.status import ApiError, bad_request


@dataclass(frozen=True, slots=True)
class User:
    """Who makes a request."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN = User("admin", ("system:masters", "system:authenticated"))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


Policy = Callable[[User, Attributes], bool]


def allow_all(user: User, attributes: Attributes) -> bool:
    """The policy that lets everybody do everything."""
    return True


def check(policy: Policy, user: User, info: RequestInfo) -> None:
    """Raise the 403 of the API server where the policy forbids a request."""
    attributes = Attributes(
        info.verb, info.plural, info.group, info.subresource, info.namespace, info.name
    )
    if policy(user, attributes):
        return
    qualified = f"{info.plural}.{info.group}" if info.group else info.plural
    place = f' in the namespace "{info.namespace}"' if info.namespace else " at the cluster scope"
    named = f' "{info.name}"' if info.name else ""
    message = (
        f'{qualified}{named} is forbidden: User "{user.name}" cannot {info.verb} resource '
        f'"{info.resource}" in API group "{info.group}"{place}'
    )
    details = {"name": info.name, "group": info.group, "kind": info.plural}
    raise ApiError(403, "Forbidden", message, {k: v for k, v in details.items() if v})


def review(policy: Policy, user: User, body: Obj) -> Obj:
    """The answer to a SubjectAccessReview, or to `user`'s SelfSubjectAccessReview."""
    answer: Obj = clone(body)
    spec = answer.get("spec") or {}
    if body["kind"] != "SelfSubjectAccessReview":
        user = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
        if not (user.name or user.groups):
            raise bad_request("spec.user: Invalid value: at least one of user or group is required")
    if "groups" in spec and not spec["groups"]:
        del spec["groups"]
    asked = spec.get("resourceAttributes") or spec.get("nonResourceAttributes") or {}
    attributes = Attributes(
        asked.get("verb", ""),
        asked.get("resource", asked.get("path", "")),
        asked.get("group", ""),
        asked.get("subresource", ""),
        asked.get("namespace", ""),
        asked.get("name", ""),
    )
    answer.setdefault("metadata", {})
    return {**answer, "status": {"allowed": policy(user, attributes)}}
