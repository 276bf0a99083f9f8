"""The three patches that are not server-side apply: JSON merge, JSON patch, strategic merge."""

from __future__ import annotations

from typing import Any

from forensics_loopback import lists
from forensics_loopback.objects import Obj, clone
from forensics_loopback.status import ApiError, bad_request


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: objects are merged, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return clone(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Obj, operations: Any) -> Obj:
    """RFC 6902. Raises the recorded 422 where an operation cannot be done."""
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: a JSON patch is a list of operations")
    document: Obj = clone(target)
    for operation in operations:
        try:
            document = _operate(document, operation)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            message = "the server rejected our request due to an error in our request"
            raise ApiError(422, "Invalid", message, {}) from error
    return document


def _operate(document: Obj, operation: Obj) -> Obj:
    verb, path = operation["op"], _pointer(operation["path"])
    if verb == "test":
        if _read(document, path) != operation["value"]:
            raise ValueError("test failed")
    elif verb == "add":
        _add(document, path, clone(operation["value"]))
    elif verb == "replace":
        _read(document, path)
        _drop(document, path)
        _add(document, path, clone(operation["value"]))
    elif verb == "remove":
        _drop(document, path)
    elif verb in {"copy", "move"}:
        _transfer(document, _pointer(operation["from"]), path, move=verb == "move")
    else:
        raise ValueError(f"unknown operation {verb}")
    return document


def _transfer(document: Obj, source: list[str], path: list[str], *, move: bool) -> None:
    value = clone(_read(document, source))
    if move:
        _drop(document, source)
    _add(document, path, value)


def _pointer(path: str) -> list[str]:
    if not path.startswith("/"):
        raise ValueError(f"not a JSON pointer: {path!r}")
    return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]


def _read(node: Any, path: list[str]) -> Any:
    for step in path:
        node = node[int(step)] if isinstance(node, list) else node[step]
    return node


def _add(document: Any, path: list[str], value: Any) -> None:
    parent, last = _read(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else int(last), value)
    else:
        parent[last] = value


def _drop(document: Any, path: list[str]) -> None:
    parent, last = _read(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.pop(int(last))
    else:
        del parent[last]


def strategic_merge(target: Any, patch: Any) -> Any:
    """A merge patch that merges the lists of built-in kinds by their keys.

    `$patch: delete`, `$patch: replace` and `$deleteFromPrimitiveList` are understood; the hints
    about order (`$setElementOrder`) and `$retainKeys` are not needed for a right result here.
    """
    if not isinstance(patch, dict):
        return clone(patch)
    if patch.get("$patch") == "replace":
        return {key: clone(value) for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        _merge_field(result, key, value)
    return result


def _merge_field(result: Obj, key: str, value: Any) -> None:
    if key.startswith("$deleteFromPrimitiveList/"):
        name = key.partition("/")[2]
        result[name] = [item for item in result.get(name, []) if item not in value]
    elif key.startswith("$"):
        return
    elif value is None:
        result.pop(key, None)
    elif isinstance(value, list):
        result[key] = _merge_list(key, result.get(key) or [], value)
    else:
        result[key] = strategic_merge(result.get(key), value)


def _merge_list(name: str, current: list[Any], patch: list[Any]) -> list[Any]:
    if lists.is_set(None, name):
        return current + [item for item in patch if item not in current]
    keys = lists.merge_keys(None, name)
    if not keys or not all(isinstance(item, dict) for item in patch):
        return clone(patch)
    replace = any(item.get("$patch") == "replace" for item in patch)
    merged = {} if replace else {lists.item_key(item, keys): item for item in current}
    for item in patch:
        identity = lists.item_key(item, keys)
        if item.get("$patch") == "delete":
            merged.pop(identity, None)
        elif item.get("$patch") != "replace":
            merged[identity] = strategic_merge(merged.get(identity), item)
    return list(merged.values())
