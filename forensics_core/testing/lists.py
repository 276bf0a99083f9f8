"""How lists are merged: whole, as sets, or item by item by a key.

Custom resources say it in their schema (`x-kubernetes-list-type`); for the built-in ones and for
everybody's metadata the rules of the published API are repeated here, as far as they matter.
"""

from __future__ import annotations

import json
from typing import Any

from forensics_core.testing.objects import Obj

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
