"""The three patches that are not server-side apply: JSON merge, JSON patch, strategic merge."""

from __future__ import annotations

from typing import Any

import jsonpatch
import jsonpointer

from forensics_loopback.kinds.objects import Obj, clone
from forensics_loopback.kinds.status import ApiError, bad_request
from forensics_loopback.storage import lists

_NOT_DONE = (
    jsonpatch.JsonPatchException,
    jsonpointer.JsonPointerException,
    # For what is no operation, or goes through something that is neither an object nor a list.
    LookupError,
    TypeError,
    AttributeError,
)


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
    try:
        # The library shares values of the patch with its result, which is the store's from now on.
        result = clone(jsonpatch.apply_patch(target, operations))
        if not isinstance(result, dict):
            raise TypeError("an object cannot become something else")
        return result
    except _NOT_DONE as error:
        message = "the server rejected our request due to an error in our request"
        raise ApiError(422, "Invalid", message, {}) from error


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
