"""The typed client of PodCheckpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from forensics_core.api.podcheckpoint import (
    Phase,
    PodCheckpoint,
    PodCheckpointSpec,
    PodCheckpointStatus,
)
from forensics_core.errors import CheckpointFailed, Conflict, NotFound, UsageError
from forensics_core.kube import ClusterConnection, PodCheckpoints
from forensics_core.kube.listwatch import EventType, WatchSettings
from forensics_core.kube.podcheckpoints import captured, finished
from tests.integration.kube.scripted import (
    ScriptedApi,
    answer,
    event,
    refusal,
    stream,
)

PATH = "/apis/forensics.orkaproj.io/v1alpha1/namespaces/forensics-system/podcheckpoints"
ONE = f"{PATH}/web"
SPEC = PodCheckpointSpec(pod="web-0", destination="s3://cases")
TRUE = {
    "status": "True",
    "reason": "X",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def checkpoint(version: int, *conditions: str, **status: Any) -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "forensics-system", "uid": "u"}
    status["conditions"] = [{"type": kind} | TRUE for kind in conditions]
    return {
        "metadata": metadata | {"resourceVersion": str(version)},
        "spec": {"pod": "web-0"},
        "status": status,
    }


def listing(version: int, *items: dict[str, Any]) -> Any:
    return answer({"metadata": {"resourceVersion": str(version)}, "items": list(items)})


@pytest.fixture
def checkpoints(cluster: ClusterConnection) -> PodCheckpoints:
    return PodCheckpoints(cluster, settings=WatchSettings(initial_pause=0.01))


async def test_create_sends_what_was_said_and_no_more(
    api: ScriptedApi, checkpoints: PodCheckpoints
) -> None:
    api.on("POST", PATH, answer(checkpoint(1), 201))
    made = await checkpoints.create(SPEC, name="web", annotations={"a": "b"})
    assert made.metadata.uid == "u"
    (seen,) = api.seen
    assert seen.body == {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "PodCheckpoint",
        "metadata": {
            "name": "web",
            "namespace": "forensics-system",
            "annotations": {"a": "b"},
        },
        "spec": {"pod": "web-0", "destination": "s3://cases"},
    }
    assert seen.query == {"fieldValidation": "Strict"}


async def test_create_without_a_name_lets_the_server_make_one(
    api: ScriptedApi, checkpoints: PodCheckpoints
) -> None:
    api.on("POST", PATH, answer(checkpoint(1), 201))
    spec = SPEC.model_copy(update={"pod": "p" * 253, "incident": "INC-1"})
    await checkpoints.create(spec, dry_run=True)
    (seen,) = api.seen
    assert seen.body["metadata"]["generateName"] == "p" * 57 + "-"
    assert seen.body["metadata"]["labels"] == {"forensics.orkaproj.io/incident": "INC-1"}
    assert seen.query["dryRun"] == "All"


async def test_get_and_list(api: ScriptedApi, checkpoints: PodCheckpoints) -> None:
    api.on("GET", ONE, answer(checkpoint(1, phase="Capturing")))
    api.on("GET", PATH, listing(5, checkpoint(1), checkpoint(2)))
    assert (await checkpoints.get("web")).status.phase is Phase.CAPTURING
    found = await checkpoints.list(label_selector="a=b")
    assert [item.metadata.resource_version for item in found] == ["1", "2"]
    assert api.seen[1].query["labelSelector"] == "a=b"


async def test_what_cannot_be_read_is_named(api: ScriptedApi, checkpoints: PodCheckpoints) -> None:
    api.on("GET", ONE, answer(checkpoint(1, phase="Elsewhere")))
    with pytest.raises(UsageError, match=r"status\.phase"):
        await checkpoints.get("web")


async def test_cancel_is_one_field(api: ScriptedApi, checkpoints: PodCheckpoints) -> None:
    api.on("PATCH", ONE, answer(checkpoint(2)))
    await checkpoints.cancel("web")
    (seen,) = api.seen
    assert seen.body == {"spec": {"cancel": True}}
    assert seen.headers["Content-Type"] == "application/merge-patch+json"


async def test_delete_reaches_the_children(api: ScriptedApi, checkpoints: PodCheckpoints) -> None:
    api.on("DELETE", ONE, answer({}), refusal(404, "NotFound"))
    await checkpoints.delete("web", uid="u")
    await checkpoints.delete("web", missing_ok=True)
    with pytest.raises(NotFound):
        await checkpoints.delete("web")
    assert api.seen[0].body["propagationPolicy"] == "Background"
    assert api.seen[0].body["preconditions"] == {"uid": "u"}


async def test_the_status_is_applied_as_a_whole_to_what_was_seen(
    api: ScriptedApi, checkpoints: PodCheckpoints
) -> None:
    api.on("PATCH", f"{ONE}/status", answer(checkpoint(2)), refusal(409, "Conflict"))
    seen_one = PodCheckpoint.parse(checkpoint(1))
    status = PodCheckpointStatus(phase=Phase.PENDING)
    await checkpoints.patch_status(seen_one, status, manager="operator")
    (seen,) = api.seen
    assert seen.headers["Content-Type"] == "application/apply-patch+yaml"
    assert seen.query == {"fieldManager": "operator", "force": "true"}
    assert seen.body["metadata"] == {
        "name": "web",
        "namespace": "forensics-system",
        "uid": "u",
        "resourceVersion": "1",
    }
    assert seen.body["status"]["phase"] == "Pending"
    assert "spec" not in seen.body
    with pytest.raises(Conflict):
        await checkpoints.patch_status(seen_one, status, manager="operator")


async def test_watch_is_typed_and_leaves_out_what_it_cannot_read(
    api: ScriptedApi, checkpoints: PodCheckpoints, caplog: pytest.LogCaptureFixture
) -> None:
    odd = checkpoint(3, phase="Elsewhere")
    api.on("GET", PATH, listing(1, checkpoint(1)))
    lines = event("MODIFIED", odd), event("MODIFIED", checkpoint(4, phase="Complete"))
    api.on("WATCH", PATH, stream(*lines, then="hang"))
    async with checkpoints.watch() as events:
        found = [await anext(events) for _ in range(3)]
    assert [each.type for each in found] == [
        EventType.ADDED,
        EventType.SYNCED,
        EventType.MODIFIED,
    ]
    assert found[1].checkpoint is None
    assert found[2].checkpoint is not None
    assert found[2].checkpoint.finished
    assert "web: This is not a PodCheckpoint" in caplog.text


async def test_watch_leaves_out_what_is_known_but_never_a_deletion(
    api: ScriptedApi, checkpoints: PodCheckpoints
) -> None:
    api.on("GET", PATH, listing(1, checkpoint(1)))
    lines = event("MODIFIED", checkpoint(2)), event("MODIFIED", checkpoint(3))
    api.on("WATCH", PATH, stream(*lines, event("DELETED", checkpoint(3)), then="hang"))
    known = {"1", "2"}
    async with checkpoints.watch(
        known=lambda item: item["metadata"]["resourceVersion"] in known
    ) as events:
        found = [await anext(events)]
        known.add("3")
        found.append(await anext(events))
    assert [each.type for each in found] == [EventType.SYNCED, EventType.DELETED]


async def test_wait_returns_the_finished_checkpoint(
    api: ScriptedApi, checkpoints: PodCheckpoints
) -> None:
    api.on("GET", PATH, listing(1, checkpoint(1)))
    lines = (
        event("MODIFIED", checkpoint(2, phase="Sealing")),
        event("MODIFIED", checkpoint(3, phase="Failed")),
    )
    api.on("WATCH", PATH, stream(*lines, then="hang"))
    done = await checkpoints.wait("web", failed_ok=True)
    assert done.status.phase is Phase.FAILED
    assert api.seen[0].query["fieldSelector"] == "metadata.name=web"


async def test_wait_until_the_pod_may_go(api: ScriptedApi, checkpoints: PodCheckpoints) -> None:
    api.on("GET", PATH, listing(1, checkpoint(1, "Captured", phase="Sealing")))
    assert (await checkpoints.wait("web", until=captured)).captured


@pytest.mark.parametrize("until", [finished, captured, lambda checkpoint: checkpoint.captured])
async def test_a_failed_checkpoint_is_an_exception_whatever_is_waited_for(
    api: ScriptedApi, checkpoints: PodCheckpoints, until: Callable[[PodCheckpoint], bool]
) -> None:
    api.on("GET", PATH, listing(1, checkpoint(1)))
    failed = checkpoint(2, phase="Failed", location="s3://cases/one/")
    api.on("WATCH", PATH, stream(event("MODIFIED", failed), then="hang"))
    with pytest.raises(CheckpointFailed, match="'web' failed") as raised:
        await checkpoints.wait("web", until=until)
    assert "s3://" not in str(raised.value)


async def test_a_checkpoint_that_failed_before_is_an_exception_too(
    api: ScriptedApi, checkpoints: PodCheckpoints
) -> None:
    api.on("GET", PATH, listing(1, checkpoint(1, "Failed", phase="Failed")))
    with pytest.raises(CheckpointFailed) as raised:
        await checkpoints.wait("web")
    assert raised.value.reason and raised.value.hint


async def test_wait_for_what_is_not_there(api: ScriptedApi, checkpoints: PodCheckpoints) -> None:
    api.on("GET", PATH, listing(1))
    with pytest.raises(NotFound, match="'web' is not in the namespace 'forensics-system'"):
        await checkpoints.wait("web")


async def test_wait_for_what_goes(api: ScriptedApi, checkpoints: PodCheckpoints) -> None:
    api.on("GET", PATH, listing(1, checkpoint(1)))
    api.on("WATCH", PATH, stream(event("DELETED", checkpoint(2)), then="hang"))
    with pytest.raises(NotFound):
        await checkpoints.wait("web")


async def test_wait_for_what_goes_as_soon_as_it_ends(
    api: ScriptedApi, checkpoints: PodCheckpoints
) -> None:
    """Its time to live may be over before anybody hears of its end."""
    api.on("GET", PATH, listing(1, checkpoint(1)))
    gone = event("DELETED", checkpoint(3, phase="Complete"))
    api.on("WATCH", PATH, stream(gone, then="hang"))
    assert (await checkpoints.wait("web")).status.phase is Phase.COMPLETE


async def test_wait_through_an_outage(api: ScriptedApi, checkpoints: PodCheckpoints) -> None:
    api.on("GET", PATH, listing(1, checkpoint(1)), listing(9, checkpoint(8, phase="Complete")))
    api.on("WATCH", PATH, stream(then="reset"), refusal(410, "Expired"))
    assert (await checkpoints.wait("web")).status.phase is Phase.COMPLETE
