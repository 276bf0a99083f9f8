"""JSON merge, JSON patch and strategic merge."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_loopback.kinds.status import ApiError
from forensics_loopback.storage.patch import json_patch, merge_patch, strategic_merge


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": None}, {}),
        ({"a": {"b": 1}}, {"a": {"b": None, "c": 2}}, {"a": {"c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"b": None}}, {"a": {}}),
        ({}, [1], [1]),
    ],
)
def test_merge_patch_as_in_rfc_7386(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "add", "path": "/a/-", "value": 3}, {"a": [1, 2, 3], "b": {"c~/d": 1}}),
        ({"op": "add", "path": "/a/0", "value": 0}, {"a": [0, 1, 2], "b": {"c~/d": 1}}),
        ({"op": "replace", "path": "/b", "value": 1}, {"a": [1, 2], "b": 1}),
        ({"op": "remove", "path": "/a/1"}, {"a": [1], "b": {"c~/d": 1}}),
        ({"op": "remove", "path": "/b/c~0~1d"}, {"a": [1, 2], "b": {}}),
        ({"op": "copy", "from": "/a", "path": "/c"}, {"a": [1, 2], "b": {"c~/d": 1}, "c": [1, 2]}),
        ({"op": "move", "from": "/a", "path": "/b"}, {"b": [1, 2]}),
        ({"op": "test", "path": "/a/0", "value": 1}, {"a": [1, 2], "b": {"c~/d": 1}}),
    ],
)
def test_json_patch_as_in_rfc_6902(operation: Any, result: Any) -> None:
    before = {"a": [1, 2], "b": {"c~/d": 1}}
    assert json_patch(before, [operation]) == result
    assert before == {"a": [1, 2], "b": {"c~/d": 1}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/none"},
        {"op": "replace", "path": "/none", "value": 1},
        {"op": "add", "path": "no-pointer", "value": 1},
        {"op": "invent", "path": "/a"},
        {"op": "add"},
        {"op": "replace", "path": "", "value": [1]},
        {"op": "add", "path": "/a/b", "value": 1},
        "add",
    ],
)
def test_a_json_patch_that_cannot_be_done_is_refused(operation: Any) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"a": 1}, [operation])
    assert caught.value.code == 422


def test_a_json_patch_that_is_no_list_is_refused() -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({}, {"op": "add"})
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        (
            {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]},
            {"containers": [{"name": "a", "image": "2"}, {"name": "c"}]},
            {"containers": [{"name": "a", "image": "2"}, {"name": "b"}, {"name": "c"}]},
        ),
        (
            {"containers": [{"name": "a"}, {"name": "b"}]},
            {"containers": [{"name": "a", "$patch": "delete"}], "$setElementOrder/containers": []},
            {"containers": [{"name": "b"}]},
        ),
        (
            {"containers": [{"name": "a"}]},
            {"containers": [{"name": "z"}, {"$patch": "replace"}]},
            {"containers": [{"name": "z"}]},
        ),
        ({"args": ["a", "b"]}, {"args": ["c"]}, {"args": ["c"]}),
        ({"finalizers": ["a"]}, {"finalizers": ["a", "b"]}, {"finalizers": ["a", "b"]}),
        (
            {"finalizers": ["a", "b"]},
            {"$deleteFromPrimitiveList/finalizers": ["a"]},
            {"finalizers": ["b"]},
        ),
        ({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, {"a": {"c": 2}}),
        ({"a": 1, "b": 2}, {"a": None, "c": {"d": 1}}, {"b": 2, "c": {"d": 1}}),
    ],
)
def test_strategic_merge_merges_lists_of_built_in_kinds_by_key(
    target: Any, patch: Any, result: Any
) -> None:
    assert strategic_merge(target, patch) == result
