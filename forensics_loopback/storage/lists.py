"""How lists are merged: whole, as sets, or item by item by a key.

Custom resources say it in their schema (`x-kubernetes-list-type`); for the built-in ones and for
everybody's metadata the rules of the published API are repeated here, as far as they matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from forensics_loopback.kinds.objects import Obj

_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "hostAliases": ("ip",),
    "podIPs": ("ip",),
}
_SETS = frozenset({"finalizers"})

Schema = Obj | None
"""A custom resource's schema at some place; None where the built-in rules hold."""


def child(schema: Schema, name: str) -> Schema:
    """The schema of a field, or of a map's values."""
    if schema is None or name == "metadata":
        return None
    found: Obj = (schema.get("properties") or {}).get(name) or {}
    if not found and isinstance(schema.get("additionalProperties"), dict):
        found = schema["additionalProperties"]
    return found


def items(schema: Schema) -> Schema:
    """The schema of a list's items."""
    return None if schema is None else schema.get("items") or {}


def merge_keys(schema: Schema, name: str) -> tuple[str, ...]:
    """The fields that identify an item of the list `name`; empty where it is not merged."""
    if schema is None:
        return _KEYS.get(name, ())
    if schema.get("x-kubernetes-list-type") == "map":
        return tuple(schema.get("x-kubernetes-list-map-keys") or ())
    return ()


def is_set(schema: Schema, name: str) -> bool:
    """Whether the list's items are its identity."""
    if schema is None:
        return name in _SETS
    return schema.get("x-kubernetes-list-type") == "set"


def item_key(item: Any, keys: tuple[str, ...]) -> str:
    """An item's identity as managed fields spell it: `k:{"name":"web"}`."""
    identity = {key: item.get(key) for key in sorted(keys)}
    return "k:" + json.dumps(identity, separators=(",", ":"))


def value_key(item: Any) -> str:
    """A set item's identity as managed fields spell it: `v:"a"`."""
    return "v:" + json.dumps(item, separators=(",", ":"))


def duplicates(value: Any, schema: Schema, name: str = "", at: str = "") -> Iterator[str]:
    """Yield which items of sets and keyed lists are there twice, in the words of a real server."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from duplicates(item, child(schema, key), key, f"{at}.{key}")
    if not isinstance(value, list):
        return
    seen: set[str] = set()
    for item in value:
        identity = _identity(item, schema, name)
        if identity in seen:
            yield f"{at}: duplicate entries for key {identity}"
        seen |= {identity} - {""}
        yield from duplicates(item, items(schema), "", at)


def _identity(item: Any, schema: Schema, name: str) -> str:
    """Return what an item is told apart by: `[name="web"]`; nothing in a list that is one value."""
    if is_set(schema, name):
        return f"[={json.dumps(item)}]"
    keys = merge_keys(schema, name)
    if not keys or not isinstance(item, dict):
        return ""
    return "[" + ",".join(f"{key}={json.dumps(item.get(key))}" for key in sorted(keys)) + "]"
