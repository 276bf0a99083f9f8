"""Label and field selectors."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_loopback.kinds.status import ApiError
from forensics_loopback.server.selectors import parse_fields, parse_labels, parse_selectors

POD: dict[str, Any] = {
    "metadata": {"name": "web", "labels": {"app": "x", "tier": "front", "a.b/c": "1"}},
    "spec": {"nodeName": "n1"},
    "involvedObject": {"name": "web"},
    "reportingComponent": "me",
}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("app=x", True),
        ("app==y", False),
        ("app!=y,tier", True),
        ("!app", False),
        ("!none", True),
        ("app in (x, y),tier notin (back)", True),
        ("app in (y)", False),
        ("a.b/c=1", True),
        ("none!=1", True),
    ],
)
def test_a_label_selector_selects_by_labels(selector: str, matches: bool) -> None:
    assert parse_labels(selector)(POD) is matches


@pytest.mark.parametrize("selector", ["==", "a b", "app in x", "=x"])
def test_a_malformed_label_selector_is_refused(selector: str) -> None:
    with pytest.raises(ApiError, match="found"):
        parse_labels(selector)


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("metadata.name=web", True),
        ("metadata.name==web,spec.nodeName!=n2", True),
        ("spec.nodeName=", False),
        ("regarding.name=web", True),
        ("involvedObject.name=other", False),
        ("reportingController=me", True),
    ],
)
def test_a_field_selector_selects_by_fields(selector: str, matches: bool) -> None:
    assert parse_fields(selector)(POD) is matches


def test_a_malformed_field_selector_is_refused() -> None:
    with pytest.raises(ApiError, match="invalid selector"):
        parse_fields("metadata.name")


def test_label_and_field_selector_must_both_match() -> None:
    assert parse_selectors("", "")({"metadata": {}})
    assert parse_selectors("app=x", "metadata.name=web")(POD)
    assert not parse_selectors("app=x", "metadata.name=db")(POD)
