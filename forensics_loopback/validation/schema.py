"""Structural schemas of custom resources: prune, default and validate, in the server's words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from forensics_loopback.kinds.objects import Obj, clone
from forensics_loopback.kinds.status import Cause
from forensics_loopback.validation import cel

_TOP = frozenset({"apiVersion", "kind", "metadata"})
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
}


def prune(obj: Obj, schema: Obj) -> list[str]:
    """Remove, in place, the fields that the schema does not know; returns their paths."""
    pruned: list[str] = []
    properties = schema.get("properties") or {}
    for key in [key for key in obj if key not in _TOP]:
        _prune_field(obj, key, properties, schema, "", pruned)
    return pruned


def _prune_field(
    node: Obj, key: str, properties: Obj, schema: Obj, at: str, pruned: list[str]
) -> None:
    path = f"{at}.{key}" if at else key
    if key in properties:
        _prune_value(node[key], properties[key], path, pruned)
    elif isinstance(schema.get("additionalProperties"), dict):
        _prune_value(node[key], schema["additionalProperties"], path, pruned)
    elif not (
        schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("additionalProperties")
    ):
        del node[key]
        pruned.append(path)


def _prune_value(value: Any, schema: Obj, at: str, pruned: list[str]) -> None:
    if isinstance(value, dict):
        for key in list(value):
            _prune_field(value, key, schema.get("properties") or {}, schema, at, pruned)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _prune_value(item, schema.get("items") or {}, f"{at}[{index}]", pruned)


def fill_defaults(value: Any, schema: Obj) -> None:
    """Put, in place, the schema's defaults where fields are missing."""
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        for key in properties.keys() - value.keys():
            if "default" in properties[key]:
                value[key] = clone(properties[key]["default"])
        for key, item in value.items():
            fill_defaults(item, _inner(schema, key))
    elif isinstance(value, list):
        for item in value:
            fill_defaults(item, schema.get("items") or {})


def _inner(schema: Obj, key: str) -> Obj:
    """The schema of a field or of a map's value; empty where nothing is said about it."""
    extra = schema.get("additionalProperties")
    fallback: Obj = extra if isinstance(extra, dict) else {}
    found: Obj = (schema.get("properties") or {}).get(key, fallback)
    return found


def validate(obj: Obj, old: Obj | None, schema: Obj) -> list[Cause]:
    """What is wrong with an object: first its shape, and only if that is right the CEL rules."""
    body = {key: value for key, value in obj.items() if key not in _TOP}
    shape = {**schema, "properties": _without_top(schema)}
    causes = list(_check(body, shape, ""))
    if causes:
        return causes
    before = None if old is None else {k: v for k, v in old.items() if k not in _TOP}
    return list(_check_rules(body, before, shape, ""))


def _without_top(schema: Obj) -> Obj:
    return {k: v for k, v in (schema.get("properties") or {}).items() if k not in _TOP}


def _check(value: Any, schema: Obj, at: str) -> Iterator[Cause]:
    if value is None and schema.get("nullable"):
        return
    kind = "integer,string" if schema.get("x-kubernetes-int-or-string") else schema.get("type")
    if kind and not any(_TYPES[name](value) for name in kind.split(",")):
        yield _wrong_type(value, kind, at)
        return
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(item) for item in schema["enum"])
        text = f"Unsupported value: {json.dumps(value)}: supported values: {supported}"
        yield Cause(at, text, "FieldValueNotSupported")
    for kinds, check in _CHECKS:
        if isinstance(value, kinds):
            yield from check(value, schema, at)


def _wrong_type(value: Any, kind: str, at: str) -> Cause:
    found = next((name for name, is_a in _TYPES.items() if is_a(value)), "null")
    text = f'Invalid value: "{found}": {at} in body must be of type {kind}: "{found}"'
    return Cause(at or "<nil>", text, "FieldValueTypeInvalid")


def _check_object(value: Obj, schema: Obj, at: str) -> Iterator[Cause]:
    for name in schema.get("required") or ():
        if name not in value and name not in _TOP:
            yield Cause(_join(at, name), "Required value", "FieldValueRequired")
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        text = f"Too many: {len(value)}: must have at most {schema['maxProperties']} items"
        yield Cause(at, text, "FieldValueTooMany")
    for name, item in value.items():
        yield from _check(item, _inner(schema, name), _join(at, name))


def _check_list(value: list[Any], schema: Obj, at: str) -> Iterator[Cause]:
    if len(value) > schema.get("maxItems", len(value)):
        text = f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        yield Cause(at, text, "FieldValueTooMany")
    if len(value) < schema.get("minItems", 0):
        text = f"{at} in body should have at least {schema['minItems']} items"
        yield Cause(at, f"Invalid value: {len(value)}: {text}")
    yield from _check_unique(value, schema, at)
    for index, item in enumerate(value):
        yield from _check(item, schema.get("items") or {}, f"{at}[{index}]")


def _check_unique(value: list[Any], schema: Obj, at: str) -> Iterator[Cause]:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in {"set", "map"}:
        return
    seen: list[Any] = []
    for index, item in enumerate(value):
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        identity = {key: item.get(key) for key in keys} if kind == "map" else item
        if identity in seen:
            text = f"Duplicate value: {json.dumps(identity, separators=(',', ':'))}"
            yield Cause(f"{at}[{index}]", text, "FieldValueDuplicate")
        seen.append(identity)


def _check_string(value: str, schema: Obj, at: str) -> Iterator[Cause]:
    shown = json.dumps(value)
    if len(value) > schema.get("maxLength", len(value)):
        text = f"Too long: may not be more than {schema['maxLength']} bytes"
        yield Cause(at, text, "FieldValueTooLong")
    if len(value) < schema.get("minLength", 0):
        text = f"{at} in body should be at least {schema['minLength']} chars long"
        yield Cause(at, f"Invalid value: {shown}: {text}")
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        text = f"{at} in body should match '{schema['pattern']}'"
        yield Cause(at, f"Invalid value: {shown}: {text}")
    if schema.get("format") == "date-time" and not _is_time(value):
        text = f"{at} in body must be of type date-time: {shown}"
        yield Cause(at, f"Invalid value: {shown}: {text}")


def _is_time(value: str) -> bool:
    pattern = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"
    return _pattern(pattern).search(value) is not None


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _check_number(value: float, schema: Obj, at: str) -> Iterator[Cause]:
    if value < schema.get("minimum", value):
        text = f"{at} in body should be greater than or equal to {schema['minimum']}"
        yield Cause(at, f"Invalid value: {value}: {text}")
    if value > schema.get("maximum", value):
        text = f"{at} in body should be less than or equal to {schema['maximum']}"
        yield Cause(at, f"Invalid value: {value}: {text}")


_CHECKS: tuple[tuple[Any, Callable[[Any, Obj, str], Iterator[Cause]]], ...] = (
    (dict, _check_object),
    (list, _check_list),
    (str, _check_string),
    (int | float, _check_number),
)


def _check_rules(value: Any, old: Any, schema: Obj, at: str) -> Iterator[Cause]:
    for rule in schema.get("x-kubernetes-validations") or ():
        message = cel.broken(rule, value, old)
        if message is not None:
            yield Cause(at or "<nil>", f"Invalid value: {message}")
    if isinstance(value, dict):
        for name, inner in (schema.get("properties") or {}).items():
            if name in value:
                before = old.get(name) if isinstance(old, dict) else None
                yield from _check_rules(value[name], before, inner, _join(at, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check_rules(item, None, schema.get("items") or {}, f"{at}[{index}]")


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
