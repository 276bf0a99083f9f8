"""Server-side apply: merge what one manager wants, and refuse to take what another one owns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from forensics_loopback.kinds.objects import Obj, clone
from forensics_loopback.kinds.status import ApiError
from forensics_loopback.storage import lists, ownership
from forensics_loopback.storage.lists import Schema
from forensics_loopback.storage.ownership import Manager, Path, Paths


def apply(live: Obj | None, wanted: Obj, manager: Manager, schema: Schema, *, force: bool) -> Obj:
    """The object after `manager` applied `wanted`, managed fields included.

    Fields that `manager` applied before and no longer wants are removed unless somebody else
    owns them.
    Raises the recorded 409 where another manager owns a field and wants another value, unless
    `force` takes it away, and the 500 that a real server answers to an item that is there twice.
    """
    configuration = ownership.owned(wanted)
    for duplicate in lists.duplicates(configuration, schema):
        raise _untypable(wanted, duplicate)
    claimed = ownership.leaves(configuration, schema)
    managers = ownership.read(live) if live else []
    before = next((m for m in managers if m.identity == manager.identity), None)
    others = [m for m in managers if m is not before]
    _settle_conflicts(live or {}, configuration, claimed, others, schema, force=force)
    result = _merge(live or {}, configuration, schema, "")
    result = {**result, "apiVersion": wanted["apiVersion"], "kind": wanted["kind"]}
    for path in _abandoned(before, claimed, others):
        _remove(result, path, schema)
    same = before is not None and before.paths == claimed
    current = Manager(
        manager.name, manager.operation, manager.api_version, manager.subresource, paths=claimed
    )
    # The same applied again keeps its time: else each apply would make a new version.
    if before is not None and same:
        current.time = before.time
    ownership.write(result, _in_place(managers, before, current))
    return result


def _in_place(managers: list[Manager], before: Manager | None, current: Manager) -> list[Manager]:
    if before is None:
        return [*managers, current]
    return [current if manager is before else manager for manager in managers]


def _abandoned(before: Manager | None, claimed: Paths, others: list[Manager]) -> list[Path]:
    if before is None:
        return []
    kept = claimed.union(*(manager.paths for manager in others))
    prefixes = {path[:length] for path in kept for length in range(1, len(path))}
    gone = [path for path in before.paths if path not in kept and path not in prefixes]
    return sorted(gone, key=len)


def _settle_conflicts(
    live: Obj,
    wanted: Obj,
    claimed: Paths,
    others: Iterable[Manager],
    schema: Schema,
    *,
    force: bool,
) -> None:
    conflicts: list[tuple[Manager, Path]] = []
    for manager in others:
        for path in sorted(manager.paths & claimed):
            # That an item is in a list, several may own.
            if _value(live, path, schema) != _value(wanted, path, schema) and not _is_item(path):
                conflicts.append((manager, path))  # noqa: PERF401 # two loops read better
    if conflicts and not force:
        raise _conflict(conflicts)
    for manager, path in conflicts:
        manager.paths.discard(path)


def _untypable(wanted: Obj, why: str) -> ApiError:
    meta = wanted.get("metadata") or {}
    name = f"{meta.get('namespace', '')}/{meta.get('name', '')}".lstrip("/")
    what = f"{name}; {wanted['apiVersion']}, Kind={wanted['kind']}"
    return ApiError(500, "", f"failed to create typed patch object ({what}): {why}")


def _is_item(path: Path) -> bool:
    return path[-1].startswith(("k:", "v:"))


def _conflict(conflicts: list[tuple[Manager, Path]]) -> ApiError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {manager.described()}",
            "field": dotted(path),
        }
        for manager, path in conflicts
    ]
    if len(causes) == 1:
        text = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = [f"{cause['message']}: {cause['field']}" for cause in causes]
        text = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", text, {"causes": causes})


def dotted(path: Path) -> str:
    """A path as conflicts spell it: `.spec.containers[name="web"].image`."""
    text = ""
    for step in path:
        kind, _, name = step.partition(":")
        if kind == "k":
            pairs = name.strip("{}").replace('"', "", 2).replace(":", "=", 1)
            text += f"[{pairs}]"
        else:
            text += f"[={name}]" if kind == "v" else f".{name}"
    return text


def _merge(live: Any, wanted: Any, schema: Schema, name: str) -> Any:
    if isinstance(wanted, dict):
        result = dict(live) if isinstance(live, dict) else {}
        for key, value in wanted.items():
            result[key] = _merge(result.get(key), value, lists.child(schema, key), key)
        return result
    if isinstance(wanted, list) and isinstance(live, list):
        if lists.is_set(schema, name):
            return live + [item for item in wanted if item not in live]
        keys = lists.merge_keys(schema, name)
        if keys:
            return _merge_items(live, wanted, lists.items(schema), keys)
    return clone(wanted)


def _merge_items(
    live: list[Any], wanted: list[Any], schema: Schema, keys: tuple[str, ...]
) -> list[Any]:
    merged = {lists.item_key(item, keys): item for item in live}
    for item in wanted:
        identity = lists.item_key(item, keys)
        merged[identity] = _merge(merged.get(identity), item, schema, "")
    return list(merged.values())


def _index(node: list[Any], step: str, schema: Schema, name: str) -> int | None:
    keys = lists.merge_keys(schema, name)
    for index, item in enumerate(node):
        found = lists.item_key(item, keys) if step.startswith("k:") else lists.value_key(item)
        if found == step:
            return index
    return None


def _value(node: Any, path: Path, schema: Schema, name: str = "") -> Any:
    for step in path:
        if step.startswith("f:"):
            name = step[2:]
            node = node.get(name) if isinstance(node, dict) else None
            schema = lists.child(schema, name)
        else:
            index = _index(node, step, schema, name) if isinstance(node, list) else None
            node = None if index is None else node[index]
            schema = lists.items(schema)
    return node


def _remove(obj: Obj, path: Path, schema: Schema) -> None:
    """Take a path out of an object, copying each container on the way."""
    node: Any = obj
    name = ""
    for step in path[:-1]:
        key: Any = step[2:] if step.startswith("f:") else _index(node, step, schema, name)
        if key is None or (isinstance(node, dict) and key not in node):
            return
        schema = lists.child(schema, key) if step.startswith("f:") else lists.items(schema)
        name = key if step.startswith("f:") else ""
        node[key] = node[key].copy()
        node = node[key]
    last = path[-1]
    index = last[2:] if last.startswith("f:") else _index(node, last, schema, name)
    if isinstance(node, dict):
        node.pop(index, None)
    elif index is not None:
        del node[int(index)]
