"""Validation rules in CEL, and what becomes of those that are not understood."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_loopback.validation import cel

SELF: dict[str, Any] = {
    "a": 1,
    "name": "web-0",
    "tags": ["x", "y"],
    "namespace": "shop",
    "inner": {"b": True},
}
SELF["deep"] = [{"in": {"namespace": 1}, "a-b": 2}]


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("self.a == 1", True),
        ("self.a + 2 >= 3 && self.a - 1 < 1", True),
        ("self.a != 1 || !(self.a > 5)", True),
        ("-self.a <= -1", True),
        ("self.__namespace__ == 'shop'", True),
        ("has(self.inner.b) && !has(self.inner.c)", True),
        ('self.name.startsWith("web") && self.name.endsWith("0")', True),
        (r"self.name.matches(r'^web-\d$')", True),
        ("self.name.contains('b-') ? size(self.tags) : 0", 2),
        ("self.a > 1 ? 'much' : 'little'", "little"),
        ("self.tags.all(t, t in ['x', 'y'])", True),
        ("self.tags.exists(t, t == 'z')", False),
        ("self.tags[1] + '!'", "y!"),
        ("self.tags.size() == 2 && null == null && true != false", True),
        ("self.name.lowerAscii() + string", "web-0?"),
        ("1.5 < 2", True),
        ("self.name.split('-').all(part, part != '..')", True),
        ("self.name.indexOf('-') + int(self.a)", 4),
        ("self.tags.map(tag, tag + '!').exists_one(tag, tag == 'x!')", True),
        ("self.deep[0].__in__.__namespace__ == 1 && self.deep[0]['a-b'] == 2", True),
    ],
)
def test_an_expression_has_the_value_that_kubernetes_gives(source: str, value: object) -> None:
    assert cel.evaluate(source, {"self": SELF, "string": "?"}) == value


@pytest.mark.parametrize(
    "source",
    [
        "self.a ~ 1",
        "cidr(self.name).ip()",
        "(self.a",
        "self.a self.b",
        "self.all(x)",
        "self.a.startsWith('x')",
    ],
)
def test_unknown_syntax_and_functions_are_unsupported(source: str) -> None:
    with pytest.raises(cel.Unsupported):
        cel.evaluate(source, {"self": SELF})


@pytest.mark.parametrize("source", ["self.none", "self.a in self.a", "self.name.matches('(?!a)')"])
def test_missing_fields_and_mixed_types_fail_the_evaluation(source: str) -> None:
    with pytest.raises(cel.EvaluationFailed):
        cel.evaluate(source, {"self": SELF})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"rule": "self.a == 1"}, None),
        ({"rule": "self.a == 2", "message": "must be 2"}, "must be 2"),
        ({"rule": "self.a == 2"}, "failed rule: self.a == 2"),
        ({"rule": "self.a == 2", "messageExpression": "'not ' + self.name"}, "not web-0"),
        ({"rule": "self.a == 2", "messageExpression": "self.none", "message": "no"}, "no"),
        ({"rule": "self.a == oldSelf.a", "message": "immutable"}, "immutable"),
        ({"rule": "cidr(self.a).ip()"}, None),
    ],
)
def test_a_broken_rule_gives_its_message(rule: dict[str, Any], message: str | None) -> None:
    assert cel.broken(rule, SELF, {"a": 3}) == message


def test_a_rule_about_the_old_object_is_for_updates_only() -> None:
    assert cel.broken({"rule": "self.a == oldSelf.a"}, SELF, None) is None


def test_a_rule_that_fails_to_evaluate_is_broken() -> None:
    assert "none" in (cel.broken({"rule": "self.none == 1"}, SELF, None) or "")
