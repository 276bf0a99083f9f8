"""Which labels a pod has to lose so that nothing selects it any more. Pure: data in, data out.

Services and controllers find pods by labels, and so do network policies. Policies only ever add up:
a pod that several of them select may do whatever any of them allows. So one that denies everything
isolates nothing while another one selects the same pod and lets traffic through.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from forensics_core.kube.objects import Object

_POSITIVE = frozenset({"In", "Exists"})
"""Operators that a label which is not there never fulfils."""


@dataclass(frozen=True, slots=True)
class LabelRemoval:
    """What a pod has to lose, and what selects it all the same."""

    removed: Mapping[str, str]
    """The labels that go."""
    services: tuple[str, ...] = ()
    """Names of the Services that selected it."""
    still_permitting: tuple[str, ...] = ()
    """Names of the network policies that go on to let traffic through: no label is theirs."""
    still_controlled: bool = False
    """Whether its controller's selector matches it all the same."""


def plan_label_removal(
    labels: Mapping[str, str],
    services: Iterable[Object],
    controller: Object | None,
    policies: Iterable[Object],
    *,
    added: Mapping[str, str] | None = None,
) -> LabelRemoval:
    """Return which labels a pod has to lose to be no longer one of any service, set or policy.

    Those that are `added` meanwhile stay: a policy may select the pod by one of them.
    """
    more = added or {}
    serving = [one for one in services if _serves(one, labels)]
    permitting = [one for one in policies if permits(one)]
    wanted = [*(_service_selector(one) for one in serving), _controller_selector(controller)]
    left = _without(labels, (selector for selector in wanted if selector is not None))
    while True:
        # Without a label another policy may select the pod: those that want it absent.
        fewer = _without(left, (_policy_selector(one) for one in permitting), more)
        if fewer == left:
            break
        left = fewer
    controls = _controller_selector(controller)
    return LabelRemoval(
        removed={key: value for key, value in labels.items() if key not in left},
        services=tuple(sorted(_name(one) for one in serving)),
        still_permitting=tuple(
            sorted(
                _name(one) for one in permitting if selects(_policy_selector(one), {**left, **more})
            )
        ),
        still_controlled=controls is not None and selects(controls, left),
    )


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector matches; an empty one matches everything."""
    equal = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in equal.items()) and all(
        _fulfils(one, labels) for one in selector.get("matchExpressions") or []
    )


def permits(policy: Object) -> bool:
    """Return whether a network policy lets any traffic through."""
    spec = policy.get("spec", {})
    directions = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    return any(spec.get(direction.lower()) for direction in directions)


def _without(
    labels: Mapping[str, str], selectors: Iterable[Object], more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the labels without those by which the selectors that match are fulfilled.

    The pod has `more` besides, which stay.
    """
    there = {**labels, **(more or {})}
    keys = {key for one in selectors if selects(one, there) for key in _keys(one)}
    return {key: value for key, value in labels.items() if key not in keys}


def _keys(selector: Object) -> set[str]:
    """Return the labels whose absence ends the match."""
    expressions = selector.get("matchExpressions") or []
    named = {one["key"] for one in expressions if one["operator"] in _POSITIVE}
    return named | set(selector.get("matchLabels") or {})


def _fulfils(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    answers = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }
    return answers[expression["operator"]]


def _serves(service: Object, labels: Mapping[str, str]) -> bool:
    selector = _service_selector(service)
    # One without a selector has its endpoints from somebody else.
    return bool(selector["matchLabels"]) and selects(selector, labels)


def _service_selector(service: Object) -> Object:
    return {"matchLabels": service.get("spec", {}).get("selector") or {}}


def _policy_selector(policy: Object) -> Object:
    found: Object = policy.get("spec", {}).get("podSelector") or {}
    return found


def _controller_selector(controller: Object | None) -> Object | None:
    """Return a controller's selector, or None for one that has none."""
    selector: Any = (controller or {}).get("spec", {}).get("selector")
    if not selector:
        return None
    # A ReplicationController's is older than expressions.
    old = not {"matchLabels", "matchExpressions"} & set(selector)
    return {"matchLabels": selector} if old else dict(selector)


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])


def listed(names: Collection[str], most: int = 5) -> str:
    """Return names in words, the first few of many."""
    shown = ", ".join(list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
