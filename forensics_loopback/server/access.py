"""Who may do what: a policy is one function, used for requests and for access reviews alike.

The policy of `rbac` is what roles and bindings in the cluster say, as in a real one; aggregated
roles and escalation checks are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from forensics_loopback.kinds.objects import Obj, clone, lookup, namespace_of
from forensics_loopback.kinds.status import ApiError, bad_request
from forensics_loopback.server.requests import RequestInfo
from forensics_loopback.storage.store import Store

_GROUP = "rbac.authorization.k8s.io"
_MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """Who makes a request."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN = User("admin", ("system:masters", "system:authenticated"))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
_OWN_REVIEWS = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}
"""What everybody who is authenticated may ask, as the role system:basic-user has it."""


@dataclass(frozen=True, slots=True)
class AccessAttributes:
    """What somebody wants to do."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


Policy = Callable[[User, AccessAttributes], bool]


def allow_all(user: User, attributes: AccessAttributes) -> bool:
    """The policy that lets everybody do everything."""
    return True


def check(policy: Policy, user: User, info: RequestInfo) -> None:
    """Raise the 403 of the API server where the policy forbids a request."""
    attributes = AccessAttributes(
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


def identity(user: User, body: Obj) -> Obj:
    """The answer to `user`'s SelfSubjectReview."""
    info = {"username": user.name, "groups": list(user.groups)}
    answered: Obj = clone(body) | {"status": {"userInfo": info}}
    return answered


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
    attributes = AccessAttributes(
        asked.get("verb", ""),
        asked.get("resource", asked.get("path", "")),
        asked.get("group", ""),
        asked.get("subresource", ""),
        asked.get("namespace", ""),
        asked.get("name", ""),
    )
    answer.setdefault("metadata", {})
    return {**answer, "status": {"allowed": policy(user, attributes)}}


def rbac(store: Store) -> Policy:
    """A policy that reads the store at each question. `system:masters` may do everything."""

    def allowed(user: User, asked: AccessAttributes) -> bool:
        if _MASTERS in user.groups:
            return True
        if asked.resource in _OWN_REVIEWS and ANONYMOUS.groups[0] not in user.groups:
            return asked.verb == "create"
        return any(_grants(rule, asked) for rule in _rules(store, user, asked.namespace))

    return allowed


def _rules(store: Store, user: User, namespace: str) -> Iterator[Obj]:
    for binding in store.objects(f"clusterrolebindings.{_GROUP}"):
        if _binds(binding, user):
            yield from _role(store, binding, "")
    if not namespace:
        return
    for binding in store.objects(f"rolebindings.{_GROUP}", namespace):
        if _binds(binding, user):
            yield from _role(store, binding, namespace)


def _role(store: Store, binding: Obj, namespace: str) -> Iterable[Obj]:
    reference = binding["roleRef"]
    plural = "clusterroles" if reference["kind"] == "ClusterRole" else "roles"
    place = "" if plural == "clusterroles" else namespace
    role = store.get(f"{plural}.{_GROUP}", place, reference["name"])
    rules: list[Obj] = lookup(role, "rules") or []
    return rules


def _binds(binding: Obj, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject["kind"], subject["name"]
        if kind == "ServiceAccount":
            place = subject.get("namespace") or namespace_of(binding)
            kind, name = "User", f"system:serviceaccount:{place}:{name}"
        if (kind == "User" and name == user.name) or (kind == "Group" and name in user.groups):
            return True
    return False


def _grants(rule: Obj, asked: AccessAttributes) -> bool:
    if not _listed(rule.get("verbs"), asked.verb):
        return False
    if asked.resource.startswith("/"):
        return _listed(rule.get("nonResourceURLs"), asked.resource)
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    names = rule.get("resourceNames")
    return (
        _listed(rule.get("apiGroups"), asked.group)
        and (_listed(rule.get("resources"), resource))
        and (not names or asked.name in names)
    )


def _listed(values: Iterable[str] | None, wanted: str) -> bool:
    found = list(values or ())
    return "*" in found or wanted in found
