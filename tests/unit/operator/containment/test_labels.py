"""Which labels a pod loses so that nothing selects it, and what selects it all the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.operator.containment.labels import listed, permits, plan_label_removal, selects

LABELS = {"app": "web", "tier": "front", "colour": "green"}


def service(name: str, **selector: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"selector": selector} if selector else {}}


def policy(name: str, *, ingress: Any = None, egress: Any = None, **selector: Any) -> Any:
    rules = {"ingress": ingress, "egress": egress}
    spec = {key: value for key, value in rules.items() if value is not None}
    return {"metadata": {"name": name}, "spec": {"podSelector": selector} | spec}


def controller(**selector: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"selector": selector}}


def test_it_leaves_its_services_and_its_controller() -> None:
    left = plan_label_removal(
        LABELS,
        [service("web", app="web"), service("other", app="api"), service("by-hand")],
        controller(matchLabels={"app": "web", "tier": "front"}),
        [],
    )
    assert left.removed == {"app": "web", "tier": "front"}
    assert (left.services, left.still_controlled) == (("web",), False)


def test_expressions_are_left_by_the_labels_that_they_need() -> None:
    needs = {"key": "tier", "operator": "In", "values": ["front", "back"]}
    there = {"key": "colour", "operator": "Exists"}
    left = plan_label_removal(LABELS, [], controller(matchExpressions=[needs, there]), [])
    assert left.removed == {"tier": "front", "colour": "green"}


def test_a_controller_that_wants_labels_absent_cannot_be_left() -> None:
    absent = {"key": "canary", "operator": "DoesNotExist"}
    left = plan_label_removal(LABELS, [], controller(matchExpressions=[absent]), [])
    assert (left.removed, left.still_controlled) == ({}, True)


def test_a_replication_controller_has_a_plain_selector() -> None:
    left = plan_label_removal(LABELS, [], controller(app="web"), [])
    assert (left.removed, left.still_controlled) == ({"app": "web"}, False)


def test_a_controller_without_a_selector_is_none() -> None:
    assert plan_label_removal(LABELS, [], {"metadata": {"name": "x"}}, []).still_controlled is False


def test_it_leaves_policies_that_let_traffic_through_and_only_those() -> None:
    policies = [
        policy("front", egress=[{}], matchLabels={"tier": "front"}),
        policy("deny", ingress=[], matchLabels={"app": "web"}),
        policy("others", ingress=[{}], matchLabels={"app": "api"}),
    ]
    left = plan_label_removal(LABELS, [], None, policies)
    assert (left.removed, left.still_permitting) == ({"tier": "front"}, ())


def test_policies_for_everybody_or_for_who_lacks_a_label_are_named() -> None:
    lacks = {"key": "tier", "operator": "NotIn", "values": ["front"]}
    policies = [
        policy("dns", egress=[{}]),
        policy("no-front", ingress=[{}], matchExpressions=[lacks]),
    ]
    left = plan_label_removal(LABELS, [service("web", tier="front")], None, policies)
    assert left.still_permitting == ("dns", "no-front"), "the second one only since the label went"


def test_a_policy_that_is_met_only_after_a_label_went_is_left_too() -> None:
    lacks = {"key": "app", "operator": "DoesNotExist"}
    then = policy("then", ingress=[{}], matchExpressions=[lacks], matchLabels={"tier": "front"})
    left = plan_label_removal(LABELS, [service("web", app="web")], None, [then])
    assert left.removed == {"app": "web", "tier": "front"}
    assert left.still_permitting == ()


@pytest.mark.parametrize(
    ("spec", "lets"),
    [
        ({"ingress": [{}]}, True),
        ({"ingress": []}, False),
        ({}, False),
        ({"egress": [{}]}, True),
        ({"egress": [{}], "policyTypes": ["Ingress"]}, False),
        ({"policyTypes": ["Ingress", "Egress"]}, False),
    ],
)
def test_a_policy_permits_by_the_rules_of_its_directions(spec: Any, lets: bool) -> None:
    assert permits({"spec": spec}) is lets


KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from(["x", "y"])
EXPRESSIONS = st.builds(
    lambda key, operator, values: {"key": key, "operator": operator, "values": values},
    KEYS,
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.lists(VALUES, min_size=1, max_size=2),
)
SELECTORS = st.fixed_dictionaries(
    {
        "matchLabels": st.dictionaries(KEYS, VALUES, max_size=2),
        "matchExpressions": st.lists(EXPRESSIONS, max_size=2),
    }
)


@given(
    st.dictionaries(KEYS, VALUES),
    st.lists(st.dictionaries(KEYS, VALUES, min_size=1, max_size=2), max_size=3),
    SELECTORS,
    st.lists(SELECTORS, max_size=3),
)
def test_whatever_still_selects_the_pod_is_named(
    labels: dict[str, str], selectors: list[dict[str, str]], controls: Any, allowed: list[Any]
) -> None:
    services = [service(f"s{number}", **one) for number, one in enumerate(selectors)]
    policies = [policy(f"p{n}", ingress=[{}], **one) for n, one in enumerate(allowed)]
    left = plan_label_removal(labels, services, controller(**controls), policies)
    kept = {key: value for key, value in labels.items() if key not in left.removed}
    assert left.removed.items() <= labels.items()
    assert not [one for one in selectors if one.items() <= kept.items()]
    assert left.still_controlled == selects(controls, kept)
    named = tuple(f"p{n}" for n, one in enumerate(allowed) if selects(one, kept))
    assert left.still_permitting == named


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(n) for n in range(9)], most=3) == "0, 1, 2 and 6 more"
