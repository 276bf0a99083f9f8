"""Who owns which fields: `metadata.managedFields`, as sets of paths.

A path is a tuple of the steps that `FieldsV1` uses: `f:spec`, `k:{"name":"web"}`, `v:"finalizer"`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from forensics_loopback.kinds.objects import Obj, now
from forensics_loopback.storage import lists
from forensics_loopback.storage.lists import Schema

Path = tuple[str, ...]
Paths = set[Path]
_IDENTITY = frozenset({"apiVersion", "kind"})
_SYSTEM = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "selfLink",
    }
)


@dataclass(slots=True)
class Manager:
    """One entry of the managed fields."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""
    time: str = field(default_factory=now)
    paths: Paths = field(default_factory=set)

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes two entries the same one."""
        return (self.name, self.operation, self.subresource)

    def described(self) -> str:
        """The manager as a conflict names it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"


def owned(obj: Obj) -> Obj:
    """The part of an object that can have owners."""
    part = {key: value for key, value in obj.items() if key not in _IDENTITY}
    part["metadata"] = {k: v for k, v in obj.get("metadata", {}).items() if k not in _SYSTEM}
    return part


def leaves(node: Any, schema: Schema, name: str = "", at: Path = ()) -> Paths:
    """The paths that an applied configuration claims: its leaves, and each item of keyed lists."""
    if isinstance(node, dict) and node:
        found: Paths = set()
        for key, value in node.items():
            found |= leaves(value, lists.child(schema, key), key, (*at, f"f:{key}"))
        return found
    if isinstance(node, list) and node:
        members = _members(node, schema, name)
        if members is not None:
            found = set()
            for step, item in members.items():
                found |= {(*at, step)} | leaves(item, lists.items(schema), "", (*at, step))
            return found
    return {at} if at and not (node == {} and at == ("f:metadata",)) else set()


def changed(old: Any, new: Any, schema: Schema, name: str = "", at: Path = ()) -> Paths:
    """The paths that an update set: new ones and those whose value is another."""
    if old is not None and old == new:
        return set()
    children = _children(new, schema, name)
    if children is None:
        return {at}
    before = _children(old, schema, name) or {}
    # The root and the metadata are always there; everything else is owned by who first set it.
    found: Paths = {at} if old is None and at not in {(), ("f:metadata",)} else set()
    for step, (value, inner, field_name) in children.items():
        previous = before.get(step, (None, inner, field_name))[0]
        found |= changed(previous, value, inner, field_name, (*at, step))
    return found


def _children(node: Any, schema: Schema, name: str) -> dict[str, tuple[Any, Schema, str]] | None:
    if isinstance(node, dict):
        return {f"f:{k}": (v, lists.child(schema, k), k) for k, v in node.items()}
    members = _members(node, schema, name) if isinstance(node, list) else None
    if members is None:
        return None
    return {step: (item, lists.items(schema), "") for step, item in members.items()}


def _members(node: list[Any], schema: Schema, name: str) -> dict[str, Any] | None:
    keys = lists.merge_keys(schema, name)
    if keys and all(isinstance(item, dict) for item in node):
        return {lists.item_key(item, keys): item for item in node}
    if lists.is_set(schema, name):
        return {lists.value_key(item): item for item in node}
    return None


def existing(node: Any, schema: Schema) -> Paths:
    """Every path that the object has."""
    return changed(None, node, schema) if node else set()


def encode(paths: Iterable[Path]) -> Obj:
    """Paths as `FieldsV1`; `.` marks a node that is owned besides its children."""
    tree: Obj = {}
    for path in sorted(paths):
        node = tree
        for depth, step in enumerate(path, 1):
            inner: Obj = node.setdefault(step, {})
            # Sorted, a prefix comes before what it is the prefix of.
            if depth < len(path) and not inner and path[:depth] in paths:
                inner["."] = {}
            node = inner
    return tree


def decode(tree: Obj, at: Path = ()) -> Paths:
    """The inverse of `encode`."""
    found: Paths = set()
    for step, inner in tree.items():
        if step == ".":
            found.add(at)
        elif inner:
            found |= decode(inner, (*at, step))
        else:
            found.add((*at, step))
    return found


def read(obj: Obj) -> list[Manager]:
    """The managers that an object names."""
    return [
        Manager(
            entry.get("manager", ""),
            entry.get("operation", ""),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
            entry.get("time", ""),
            decode(entry.get("fieldsV1") or {}),
        )
        for entry in obj["metadata"].get("managedFields") or []
    ]


def write(obj: Obj, managers: Iterable[Manager]) -> None:
    """Put the managers that own something into the object's metadata."""
    entries = [_entry(manager) for manager in managers if manager.paths]
    obj["metadata"].pop("managedFields", None)
    if entries:
        obj["metadata"]["managedFields"] = entries


def _entry(manager: Manager) -> Obj:
    entry: Obj = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": manager.api_version,
        "time": manager.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": encode(manager.paths),
    }
    return {**entry, "subresource": manager.subresource} if manager.subresource else entry


def record_update(old: Obj | None, new: Obj, manager: Manager, schema: Schema) -> None:
    """Note in `new` that `manager` made it out of `old` by an update."""
    before = owned(old) if old else {"metadata": {}}
    after = owned(new)
    mine = changed(before, after, schema)
    left = existing(after, schema)
    managers = read(old) if old else []
    same = next((m for m in managers if m.identity == manager.identity), None)
    for each in managers:
        each.paths = {p for p in each.paths if p in left and (each is same or p not in mine)}
    if mine and same is None:
        same = manager
        managers.append(manager)
    if same is not None and mine:
        same.paths |= mine
        same.time = manager.time
    write(new, managers)
