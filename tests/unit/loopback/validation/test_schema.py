"""Structural schemas: pruned, defaulted, validated."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_loopback.validation import schema

Obj = dict[str, Any]


def spec(**properties: Any) -> Obj:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


STRING = {"type": "string"}


def test_prune_leaves_what_is_known_or_preserved() -> None:
    rules = spec(
        a=STRING,
        kept={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        map={
            "type": "object",
            "additionalProperties": {"type": "object", "properties": {"a": STRING}},
        },
        list={"type": "array", "items": {"type": "object", "properties": {"a": STRING}}},
    )
    obj: Obj = {
        "apiVersion": "v1",
        "metadata": {"odd": 1},
        "odd": 1,
        "spec": {
            "a": "1",
            "b": 2,
            "kept": {"x": {"y": 1}},
            "map": {"k": {"a": "1", "b": 2}},
            "list": [{"a": "1", "b": 2}],
        },
    }
    assert schema.prune(obj, rules) == ["odd", "spec.b", "spec.map.k.b", "spec.list[0].b"]
    assert obj["spec"] == {
        "a": "1",
        "kept": {"x": {"y": 1}},
        "map": {"k": {"a": "1"}},
        "list": [{"a": "1"}],
    }


def test_defaults_fill_objects_maps_and_lists() -> None:
    inner = {
        "type": "object",
        "default": {},
        "properties": {"n": {"type": "integer", "default": 3}},
    }
    rules = spec(
        one=inner,
        list={"type": "array", "items": inner},
        map={"type": "object", "additionalProperties": inner},
    )
    obj: Obj = {"spec": {"list": [{}, {"n": 1}], "map": {"k": {}}}}
    schema.fill_defaults(obj, rules)
    assert obj["spec"] == {"one": {"n": 3}, "list": [{"n": 3}, {"n": 1}], "map": {"k": {"n": 3}}}


@pytest.mark.parametrize(
    ("rules", "value", "text"),
    [
        (STRING, 1, 'Invalid value: "integer": spec.x in body must be of type string: "integer"'),
        ({"type": "integer"}, True, "must be of type integer"),
        ({"type": "number"}, "1", "must be of type number"),
        ({"type": "array"}, None, 'must be of type array: "null"'),
        ({"enum": ["a", "b"]}, "c", 'Unsupported value: "c": supported values: "a", "b"'),
        ({**STRING, "maxLength": 1}, "ab", "Too long: may not be more than 1 bytes"),
        ({**STRING, "minLength": 1}, "", "should be at least 1 chars long"),
        ({**STRING, "pattern": "^a$"}, "b", "should match '^a$'"),
        ({**STRING, "format": "date-time"}, "noon", "must be of type date-time"),
        ({"type": "integer", "minimum": 1}, 0, "should be greater than or equal to 1"),
        ({"type": "integer", "maximum": 1}, 2, "should be less than or equal to 1"),
        ({"type": "array", "maxItems": 1}, [1, 2], "Too many: 2: must have at most 1 items"),
        ({"type": "array", "minItems": 1}, [], "should have at least 1 items"),
        ({"type": "array", "items": STRING}, [1], "spec.x[0] in body must be of type string"),
        ({"type": "array", "x-kubernetes-list-type": "set"}, [1, 1], "Duplicate value: 1"),
        (
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
            [{"type": "A"}, {"type": "A", "b": 1}],
            'Duplicate value: {"type":"A"}',
        ),
        ({"type": "object", "required": ["a"]}, {}, "Required value"),
        ({"type": "object", "maxProperties": 0}, {"a": 1}, "Too many: 1"),
        ({"x-kubernetes-int-or-string": True}, [], "must be of type integer,string"),
        (
            {"type": "array", "items": {"x-kubernetes-validations": [{"rule": "self > 1"}]}},
            [2, 1],
            "failed rule: self > 1",
        ),
    ],
)
def test_what_is_refused(rules: Obj, value: Any, text: str) -> None:
    (cause,) = schema.validate({"spec": {"x": value}}, None, spec(x=rules))
    assert text in cause.message


@pytest.mark.parametrize(
    ("rules", "value"),
    [
        ({**STRING, "nullable": True}, None),
        ({**STRING, "format": "date-time"}, "2026-01-01T00:00:00Z"),
        ({"x-kubernetes-int-or-string": True}, "80%"),
        ({"type": "array", "x-kubernetes-list-type": "set"}, [1, 2]),
        ({"type": "object", "additionalProperties": STRING}, {"a": "b"}),
    ],
)
def test_what_is_accepted(rules: Obj, value: Any) -> None:
    assert schema.validate({"spec": {"x": value}}, None, spec(x=rules)) == []


def test_transition_rules_see_the_old_value() -> None:
    rules = spec(x={**STRING, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]})
    same, other = {"spec": {"x": "a"}}, {"spec": {"x": "b"}}
    assert schema.validate(same, same, rules) == []
    assert [cause.field for cause in schema.validate(other, same, rules)] == ["spec.x"]
