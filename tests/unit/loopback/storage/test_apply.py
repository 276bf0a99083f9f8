"""Server-side apply and the owners of fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_loopback.kinds.status import ApiError
from forensics_loopback.storage import ownership
from forensics_loopback.storage.apply import apply, dotted
from forensics_loopback.storage.ownership import Manager

Obj = dict[str, Any]
KEYED = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
SCHEMA: Obj = {
    "properties": {
        "status": {"properties": {"conditions": KEYED, "tags": {"x-kubernetes-list-type": "set"}}}
    }
}


def alice() -> Manager:
    return Manager("alice", "Apply", "v1")


def bob() -> Manager:
    return Manager("bob", "Apply", "v1")


def thing(**fields: Any) -> Obj:
    return {"apiVersion": "v1", "kind": "Thing", "metadata": {}, **fields}


def put(live: Obj | None, me: Manager, *, force: bool = False, **fields: Any) -> Obj:
    return apply(live, thing(**fields), me, SCHEMA, force=force)


def test_what_is_no_longer_wanted_is_removed() -> None:
    live = put(None, alice(), spec={"a": 1, "b": {"c": 2}})
    live = put(live, alice(), spec={"a": 1})
    assert live["spec"] == {"a": 1, "b": {}}


def test_what_another_one_wants_too_is_kept() -> None:
    live = put(None, alice(), spec={"a": 1, "b": 2})
    live = put(live, bob(), spec={"b": 2})
    live = put(live, alice(), spec={"a": 1})
    assert live["spec"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("live", [None, thing(status={"conditions": [{"type": "A"}]})])
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"conditions": [{"type": "A"}, {"type": "A"}]},
            '.status.conditions: duplicate entries for key [type="A"]',
        ),
        ({"tags": ["x", "y", "x"]}, '.status.tags: duplicate entries for key [="x"]'),
    ],
)
def test_an_item_that_is_there_twice_is_refused_as_a_real_server_does(
    live: Obj | None, status: Obj, said: str
) -> None:
    with pytest.raises(ApiError) as caught:
        put(live, alice(), status=status)
    assert (caught.value.code, caught.value.reason) == (500, "")
    assert said in caught.value.message


def test_conflicts_name_all_fields() -> None:
    live = put(None, alice(), spec={"a": 1, "b": 2})
    with pytest.raises(ApiError) as caught:
        put(live, bob(), spec={"a": 2, "b": 3})
    assert caught.value.code == 409
    assert "Apply failed with 2 conflicts" in caught.value.message
    details = caught.value.details or {}
    assert [cause["field"] for cause in details["causes"]] == [".spec.a", ".spec.b"]


def test_an_update_owns_too() -> None:
    live = put(None, alice(), spec={"a": 1})
    new = {**live, "spec": {"a": 2}, "metadata": dict(live["metadata"])}
    ownership.record_update(live, new, Manager("edit", "Update", "v1", "status"), SCHEMA)
    with pytest.raises(ApiError, match='"edit" with subresource "status" using v1') as caught:
        put(new, alice(), spec={"a": 1})
    assert caught.value.code == 409
    assert put(new, alice(), force=True, spec={"a": 1})["spec"] == {"a": 1}


def test_keyed_lists_merge_by_item() -> None:
    live = put(None, alice(), status={"conditions": [{"type": "A", "status": "True"}]})
    live = put(live, bob(), status={"conditions": [{"type": "B", "status": "False"}]})
    assert [c["type"] for c in live["status"]["conditions"]] == ["A", "B"]
    live = put(live, alice(), status={"conditions": []})
    assert [c["type"] for c in live["status"]["conditions"]] == ["B"]


def test_keyed_items_change_in_place_and_lose_fields() -> None:
    first = {"type": "A", "status": "True", "message": "m"}
    live = put(None, alice(), status={"conditions": [first]})
    live = put(live, alice(), status={"conditions": [{"type": "A", "status": "False"}]})
    assert live["status"]["conditions"] == [{"type": "A", "status": "False"}]


def test_sets_merge_by_value() -> None:
    live = put(None, alice(), status={"tags": ["a", "b"]})
    live = put(live, bob(), status={"tags": ["b", "c"]})
    live = put(live, alice(), status={"tags": ["a"]})
    assert live["status"]["tags"] == ["a", "b", "c"]
    live = put(live, bob(), status={})
    assert live["status"]["tags"] == ["a"]


def test_atomic_lists_are_replaced() -> None:
    live = put(None, alice(), spec={"list": [1, 2]})
    assert put(live, alice(), spec={"list": [3]})["spec"] == {"list": [3]}


def test_removing_what_is_gone_already_does_nothing() -> None:
    live = put(None, alice(), spec={"a": {"b": 1}}, status={"conditions": [{"type": "A"}]})
    live = {**live, "spec": {}, "status": {"conditions": []}}
    assert put(live, alice(), spec={"c": 1})["spec"] == {"c": 1}


def test_the_same_again_changes_nothing() -> None:
    live = put(None, alice(), spec={"a": 1})
    assert put(live, alice(), spec={"a": 1}) == live


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("f:spec", "f:a"), ".spec.a"),
        (("f:conditions", 'k:{"type":"A"}', "f:status"), '.conditions[type="A"].status'),
        (("f:finalizers", 'v:"a/b"'), '.finalizers[="a/b"]'),
    ],
)
def test_paths_as_conflicts_spell_them(path: tuple[str, ...], text: str) -> None:
    assert dotted(path) == text


STEPS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
PATHS = st.sets(st.lists(STEPS, min_size=1, max_size=4).map(tuple), max_size=12)


@given(PATHS)
def test_fields_survive_encoding(paths: set[tuple[str, ...]]) -> None:
    assert ownership.decode(ownership.encode(paths)) == paths


def test_built_in_lists_have_owners_by_key() -> None:
    old = thing(spec={"containers": [{"name": "a", "image": "1"}]})
    ownership.record_update(None, old, Manager("create", "Update", "v1"), None)
    new = thing(spec={"containers": [{"name": "a", "image": "2"}]})
    new["metadata"] = dict(old["metadata"])
    ownership.record_update(old, new, Manager("edit", "Update", "v1"), None)
    first, second = ownership.read(new)
    image = ("f:spec", "f:containers", 'k:{"name":"a"}', "f:image")
    assert image in second.paths
    assert image not in first.paths
    assert (*image[:3], "f:name") in first.paths
