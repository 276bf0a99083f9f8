"""RBAC as a policy: the roles and bindings that a cluster holds decide, as in a real one.

Aggregated roles and escalation checks are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from forensics_loopback.access import Attributes, Policy, User
from forensics_loopback.objects import Obj, lookup, namespace_of
from forensics_loopback.store import Store

_GROUP = "rbac.authorization.k8s.io"
_MASTERS = "system:masters"


def rbac(store: Store) -> Policy:
    """A policy that reads the store at each question. `system:masters` may do everything."""

    def allowed(user: User, asked: Attributes) -> bool:
        if _MASTERS in user.groups:
            return True
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


def _grants(rule: Obj, asked: Attributes) -> bool:
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
