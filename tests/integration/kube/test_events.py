"""Events: written in the background, repeated as a series, bounded, never in the way."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.events import EventLimits, EventRecorder, event_recorder, reference
from tests.integration.kube.scripted import ScriptedApi, answer, refusal, reset

PATH = "/apis/events.k8s.io/v1/namespaces/forensics-system/events"
WEB = reference(
    PodCheckpoint.parse(
        {
            "metadata": {"name": "web", "namespace": "forensics-system", "uid": "u"},
            "spec": {"pod": "web-0"},
        }
    )
)


def tell(recorder: EventRecorder, note: str = "begun", **more: Any) -> None:
    regarding = more.pop("regarding", WEB)
    recorder.record(regarding, reason="CaptureStarted", action="Capture", note=note, **more)


async def record(
    cluster: ClusterConnection, *notes: str, limits: EventLimits | None = None
) -> EventRecorder:
    controller = "forensics.orkaproj.io/operator"
    async with event_recorder(cluster, controller, "op-1", limits) as recorder:
        for note in notes:
            tell(recorder, note)
    return recorder


async def test_an_event_has_what_the_api_asks_for(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("POST", PATH, answer({}, 201))
    await record(cluster, "x" * 2000)
    body = api.seen[0].body
    assert body["regarding"] == WEB
    assert body["metadata"]["name"].startswith("web.")
    assert body["metadata"]["namespace"] == "forensics-system"
    assert body["eventTime"].endswith("Z")
    assert (body["type"], body["reason"], body["action"]) == ("Normal", "CaptureStarted", "Capture")
    assert body["reportingController"] == "forensics.orkaproj.io/operator"
    assert body["reportingInstance"] == "op-1"
    assert body["note"] == "x" * 1021 + "…"


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        ("é" * 512, "é" * 512),
        ("é" * 513, "é" * 510 + "…"),
        ("x" * 1024, "x" * 1024),
        ("half \ud83d", "half ?"),
    ],
)
async def test_a_note_has_so_many_bytes_at_most(
    api: ScriptedApi, cluster: ClusterConnection, note: str, kept: str
) -> None:
    api.on("POST", PATH, answer({}, 201))
    await record(cluster, note)
    assert api.seen[0].body["note"] == kept


async def test_repetition_becomes_a_series(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("POST", PATH, answer({}, 201))
    async with event_recorder(cluster, "c/o", "op-1") as recorder:
        tell(recorder)
        await api.until(lambda: bool(api.seen))
        name = api.seen[0].body["metadata"]["name"]
        api.on("PATCH", f"{PATH}/{name}", answer({}))
        for _ in range(9):
            tell(recorder)
    assert len(api.asked("POST")) == 1
    patched = [seen.body["series"]["count"] for seen in api.asked("PATCH")]
    assert patched == [2, 4, 8]
    assert recorder.dropped == 0


async def test_an_event_that_the_server_forgot_is_written_anew(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("POST", PATH, answer({}, 201))
    async with event_recorder(cluster, "c/o", "op-1") as recorder:
        tell(recorder)
        await api.until(lambda: bool(api.seen))
        name = api.seen[0].body["metadata"]["name"]
        api.on("PATCH", f"{PATH}/{name}", refusal(404, "NotFound"))
        tell(recorder)
    assert len(api.asked("POST")) == 2


async def test_a_server_that_is_away_is_counted_and_not_raised(
    api: ScriptedApi, cluster: ClusterConnection, caplog: pytest.LogCaptureFixture
) -> None:
    api.on("POST", PATH, reset(), answer({}, 201))
    recorder = await record(cluster, "one", "two")
    assert recorder.dropped == 1
    assert "CaptureStarted could not be written" in caplog.text


async def test_events_of_work_that_failed_are_still_written(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("POST", PATH, answer({}, 201))
    with pytest.raises(LookupError):
        async with event_recorder(cluster, "c/o", "op-1") as recorder:
            tell(recorder)
            raise LookupError
    assert len(api.seen) == 1


async def test_events_of_work_that_was_cancelled_are_still_written(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("POST", PATH, answer({}, 201))
    with anyio.CancelScope() as scope:
        async with event_recorder(cluster, "c/o", "op-1") as recorder:
            tell(recorder)
            scope.cancel()
            await anyio.sleep_forever()
    assert len(api.seen) == 1


async def test_the_end_does_not_wait_for_ever(api: ScriptedApi, cluster: ClusterConnection) -> None:

    async def never(api: ScriptedApi, request: object) -> Any:
        await api.closing.wait()
        raise AssertionError("the test is over")

    api.on("POST", PATH, never)
    await record(cluster, "stuck", limits=EventLimits(flush=0.05))
    assert len(api.seen) == 1


async def test_the_queue_is_bounded(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("POST", PATH, answer({}, 201))
    recorder = await record(cluster, *"abcdefgh", limits=EventLimits(waiting=3))
    assert len(api.seen) + recorder.dropped == 8
    assert recorder.dropped >= 4
    tell(recorder)
    assert recorder.dropped >= 5, "after the end nothing is taken"


async def test_one_object_cannot_flood(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("POST", PATH, answer({}, 201))
    api.on("POST", "/apis/events.k8s.io/v1/namespaces/default/events", answer({}, 201))
    async with event_recorder(cluster, "c/o", "op-1", EventLimits(per_object=2)) as recorder:
        for note in "abc":
            tell(recorder, note)
        tell(recorder, regarding={"kind": "Node", "name": "n"}, kind="Warning")
    assert [seen.body["note"] for seen in api.seen] == ["a", "b", "begun"]
    assert recorder.dropped == 1


async def test_the_memory_is_bounded(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("POST", PATH, answer({}, 201))
    await record(cluster, "a", "b", "a", limits=EventLimits(known=1))
    assert [seen.body["note"] for seen in api.seen] == ["a", "b", "a"]
