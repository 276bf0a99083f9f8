"""Where a pod may run: node selector and required node affinity against the nodes that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from forensics_loopback.kinds.objects import Obj, lookup, metadata, name_of

_OPERATORS: dict[str, Callable[[str | None, list[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: value is not None and int(value) > int(values[0]),
    "Lt": lambda value, values: value is not None and int(value) < int(values[0]),
}


def place(pod: Obj, nodes: Iterable[Obj]) -> Obj | None:
    """The first node, by name, that the pod may run on, or None."""
    return next((node for node in nodes if fits(pod, node)), None)


def fits(pod: Obj, node: Obj) -> bool:
    """Whether the pod selects the node and tolerates its taints."""
    labels = metadata(node).get("labels") or {}
    selector = lookup(pod, "spec.nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    terms = (lookup(pod, path) or {}).get("nodeSelectorTerms")
    if terms is not None and not any(_term_matches(term, node, labels) for term in terms):
        return False
    taints = lookup(node, "spec.taints") or ()
    return all(_tolerated(taint, lookup(pod, "spec.tolerations") or ()) for taint in taints)


def _term_matches(term: Obj, node: Obj, labels: dict[str, str]) -> bool:
    fields = {"metadata.name": name_of(node)}
    wanted = [(e, labels) for e in term.get("matchExpressions") or ()]
    wanted += [(e, fields) for e in term.get("matchFields") or ()]
    return bool(wanted) and all(
        _OPERATORS[e["operator"]](values.get(e["key"]), e.get("values") or [])
        for e, values in wanted
    )


def _tolerated(taint: Obj, tolerations: Iterable[Obj]) -> bool:
    if taint.get("effect") == "PreferNoSchedule":
        return True
    return any(
        toleration.get("effect", taint.get("effect")) == taint.get("effect")
        and toleration.get("key", taint["key"]) == taint["key"]
        and (
            toleration.get("operator") == "Exists"
            or toleration.get("value", "") == taint.get("value", "")
        )
        for toleration in tolerations
    )
