"""The difference between two lists turns the one into the other."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forensics_core.kube.listwatch import EventType, KnownObjects, difference

OBJECTS = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.sampled_from("xyz"), st.integers(1, 3)), max_size=6
)


def known(objects: dict[str, tuple[str, int]]) -> KnownObjects:
    return {("ns", name): item(name, uid, version) for name, (uid, version) in objects.items()}


def item(name: str, uid: str, version: int) -> dict[str, Any]:
    identity = {"namespace": "ns", "name": name, "uid": uid}
    return {"metadata": identity | {"resourceVersion": str(version)}}


@given(OBJECTS, OBJECTS)
def test_it_leads_from_one_to_the_other(
    before: dict[str, tuple[str, int]], after: dict[str, tuple[str, int]]
) -> None:
    state = known(before)
    for event in difference(dict(state), known(after).values()):
        key = ("ns", event.object["metadata"]["name"])
        match event.type:
            case EventType.DELETED:
                assert state.pop(key) == event.object
            case EventType.ADDED:
                assert key not in state
                state[key] = event.object
            case _:
                assert state[key]["metadata"]["uid"] == event.object["metadata"]["uid"]
                assert state[key] != event.object
                state[key] = event.object
    assert state == known(after)


@given(OBJECTS)
def test_nothing_changed_is_no_event(objects: dict[str, tuple[str, int]]) -> None:
    assert list(difference(known(objects), known(objects).values())) == []


def test_an_object_of_the_cluster_has_no_namespace() -> None:
    node: dict[str, Any] = {"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}}
    assert [event.type for event in difference({}, [node])] == [EventType.ADDED]
