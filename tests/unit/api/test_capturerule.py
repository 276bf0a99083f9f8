"""CaptureRule: which pods it means, what its captures ask for, and what it refuses."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.api.capturerule import (
    NOT_IN_TEMPLATE,
    PROTECTED,
    AlertPriority,
    CaptureRule,
    CaptureRuleSpec,
    CaptureRuleStatus,
    LabelRequirement,
    LabelSelector,
    SelectorOperator,
)
from forensics_core.api.podcheckpoint import PodCheckpointSpec
from forensics_core.errors import UsageError

LABELS = {"app": "web", "tier": "front"}


def spec(**fields: Any) -> CaptureRuleSpec:
    return CaptureRuleSpec.model_validate({"namespaces": ["shop"], "events": ["Failed"], **fields})


def requirement(key: str, operator: SelectorOperator, *values: str) -> LabelRequirement:
    return LabelRequirement(key=key, operator=operator, values=values)


def test_an_empty_selector_means_every_pod() -> None:
    assert LabelSelector().matches({})
    assert LabelSelector().matches(LABELS)


@pytest.mark.parametrize(
    ("one", "holds"),
    [
        (requirement("app", SelectorOperator.IN, "web", "api"), True),
        (requirement("app", SelectorOperator.IN, "api"), False),
        (requirement("none", SelectorOperator.IN, "api"), False),
        (requirement("app", SelectorOperator.NOT_IN, "api"), True),
        (requirement("app", SelectorOperator.NOT_IN, "web"), False),
        (requirement("none", SelectorOperator.NOT_IN, "web"), True),
        (requirement("app", SelectorOperator.EXISTS), True),
        (requirement("none", SelectorOperator.EXISTS), False),
        (requirement("none", SelectorOperator.DOES_NOT_EXIST), True),
        (requirement("app", SelectorOperator.DOES_NOT_EXIST), False),
    ],
)
def test_labels_are_compared_as_kubernetes_does(one: LabelRequirement, holds: bool) -> None:
    assert LabelSelector(match_expressions=(one,)).matches(LABELS) is holds


def test_labels_and_comparisons_all_have_to_hold() -> None:
    front = requirement("tier", SelectorOperator.IN, "front")
    assert LabelSelector(match_labels={"app": "web"}, match_expressions=(front,)).matches(LABELS)
    assert not LabelSelector(match_labels={"app": "x"}, match_expressions=(front,)).matches(LABELS)


@pytest.mark.parametrize(
    ("operator", "values"),
    [("In", ()), ("NotIn", ()), ("Exists", ("x",)), ("DoesNotExist", ("x",))],
)
def test_a_comparison_has_the_values_that_it_takes(operator: str, values: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="values"):
        LabelRequirement(key="app", operator=SelectorOperator(operator), values=values)


@pytest.mark.parametrize("namespace", sorted(PROTECTED))
def test_protected_namespaces_are_meant_only_where_they_are_named(namespace: str) -> None:
    assert not spec(namespaces=["*"]).covers(namespace)
    assert spec(namespaces=["*", namespace]).covers(namespace)
    assert spec(namespaces=["*"]).covers("shop")
    assert not spec().covers("other")


def test_a_capture_is_the_template_with_the_pod_and_what_happened() -> None:
    rule = spec(template={"destination": "s3://cases", "incident": "INC-1", "reason": "watch"})
    assert rule.checkpoint("web-0", "shop", reason="OOMKilled: web") == PodCheckpointSpec(
        pod="web-0",
        namespace="shop",
        destination="s3://cases",
        incident="INC-1",
        reason="watch: OOMKilled: web",
    )
    assert spec().checkpoint("web-0", "shop", reason="x" * 2000).reason.endswith("…")


@given(st.text())
def test_whatever_a_reason_holds_a_capture_can_be_asked_for(reason: str) -> None:
    made = spec().checkpoint("web-0", "shop", reason=reason)
    assert len(made.reason) <= 1024
    assert not [one for one in made.reason if unicodedata.category(one) in {"Cc", "Cf"}]


@pytest.mark.parametrize("field", sorted(NOT_IN_TEMPLATE))
def test_a_template_has_nothing_that_each_capture_has_of_its_own(field: str) -> None:
    with pytest.raises(UsageError, match=f"{field} is no part of a template"):
        CaptureRule.parse(
            {"spec": {"namespaces": ["a"], "events": ["Failed"], "template": {field: "x"}}}
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"namespaces": []},
        {"namespaces": ["TamperTarget"]},
        {"namespaces": ["a"] * 17},
        {"events": []},
        {"events": ["Sneezed"]},
        {"limits": {"perPod": 0}},
        {"holdSeconds": 601},
        {"template": {"destination": "file:///tmp"}},
        {"alert": {"priority": "High"}},
    ],
)
def test_what_cannot_be_is_refused_by_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"CaptureRule .*spec.{next(iter(wrong))}"):
        CaptureRule.parse({"spec": {"namespaces": ["a"], "events": ["Failed"]} | wrong})


def test_a_rule_that_is_no_rule_is_refused() -> None:
    with pytest.raises(UsageError, match="spec: Field required"):
        CaptureRule.parse({"metadata": {"name": "x"}})


def test_fields_of_later_releases_are_left_out() -> None:
    rule = CaptureRule.parse(
        {"spec": {"namespaces": ["a"], "events": ["Failed"], "new": 1}, "status": {"new": 1}}
    )
    assert rule.spec.limits.per_hour == 10
    assert rule.status == CaptureRuleStatus()
    assert rule.status.to_dict()["captured"] == 0


def test_the_gravest_alert_has_the_first_rank() -> None:
    assert AlertPriority.EMERGENCY.rank == 0
    assert AlertPriority.WARNING.rank < AlertPriority.NOTICE.rank
