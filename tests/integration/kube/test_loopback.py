"""The gateway against the loopback cluster, with the real CRD: the ways that users go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from forensics_core.api.conditions import ConditionType, set_condition
from forensics_core.api.crd import crd
from forensics_core.api.podcheckpoint import (
    Phase,
    PodCheckpoint,
    PodCheckpointSpec,
    PodCheckpointStatus,
    Progress,
)
from forensics_core.errors import AlreadyExists, Conflict, Invalid, NotFound
from forensics_core.kube import ClusterConnection, PodCheckpoints, connect
from forensics_core.kube.access import AccessRequest, allowed
from forensics_core.kube.events import event_recorder, reference
from forensics_core.kube.lease import LeaseName, LeaseTiming, lead
from forensics_core.kube.listwatch import EventType, WatchSettings, listwatch
from forensics_core.kube.logs import follow_log
from forensics_core.kube.objects import JSON_PATCH, Objects
from forensics_core.kube.podcheckpoints import captured
from forensics_core.kube.resources import EVENTS, JOBS, PODCHECKPOINTS, PODS, SECRETS
from forensics_loopback import ContainerExit, Fault, LoopbackCluster, RunningPod
from tests.waiting import time_passes

SPEC = PodCheckpointSpec(pod="web", namespace="default", destination="s3://cases")
QUICK = WatchSettings(initial_pause=0.01, longest_pause=0.05)
NS = "forensics-system"


async def talk(pod: RunningPod) -> ContainerExit:
    for number in range(5):
        pod.log.write(f"line {number}\n".encode())
        await anyio.lowlevel.checkpoint()
    return ContainerExit(message="done")


@pytest.fixture
async def loopback() -> AsyncIterator[LoopbackCluster]:
    async with LoopbackCluster(runner=talk, namespaces=("default", NS)) as cluster:
        cluster.create(crd())
        cluster.seed_pod("web")
        yield cluster


@pytest.fixture
async def cluster(loopback: LoopbackCluster, tmp_path: Path) -> AsyncIterator[ClusterConnection]:
    async with connect(await loopback.kubeconfig(tmp_path / "config", namespace=NS)) as connection:
        yield connection


async def test_lists_of_metadata_leave_out_the_rest(
    loopback: LoopbackCluster, cluster: ClusterConnection
) -> None:
    for number in range(4):
        loopback.seed_pod(f"web-{number}")
    pages = [
        page async for page in Objects(cluster, PODS, metadata_page=2).pages(metadata_only=True)
    ]
    items = [item for page in pages for item in page.items]
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert [item["metadata"]["name"] for item in items] == ["web", *(f"web-{n}" for n in range(4))]
    assert not [item for item in items if "spec" in item or "status" in item]


@pytest.fixture
def checkpoints(cluster: ClusterConnection) -> PodCheckpoints:
    return PodCheckpoints(cluster, settings=QUICK)


async def test_a_checkpoint_from_its_creation_to_its_end(checkpoints: PodCheckpoints) -> None:
    made = await checkpoints.create(SPEC)
    assert made.metadata.name.startswith("web-")
    assert made.spec.active_deadline_seconds == 3600, "the defaults are the server's"

    async def operate() -> None:
        now = datetime.now(UTC)
        status = PodCheckpointStatus(phase=Phase.CAPTURING, progress=Progress(summary="1/7"))
        seen = await checkpoints.patch_status(made, status, manager="operator")
        conditions = set_condition((), ConditionType.CAPTURED, True, reason="Found", now=now)
        status = PodCheckpointStatus(phase=Phase.SEALING, conditions=conditions)
        seen = await checkpoints.patch_status(seen, status, manager="operator")
        progress = seen.status.progress or Progress()
        assert progress.summary == "", "what is left out goes"
        status = PodCheckpointStatus(phase=Phase.COMPLETE, conditions=conditions)
        await checkpoints.patch_status(seen, status, manager="operator")

    async with anyio.create_task_group() as group:
        group.start_soon(operate)
        assert (await checkpoints.wait(made.metadata.name, until=captured)).captured
        assert (await checkpoints.wait(made.metadata.name)).status.phase is Phase.COMPLETE
    assert [item.metadata.name for item in await checkpoints.list()] == [made.metadata.name]
    await checkpoints.delete(made.metadata.name, uid=made.metadata.uid)
    with pytest.raises(NotFound):
        await checkpoints.get(made.metadata.name)


async def test_a_stale_status_is_a_conflict(checkpoints: PodCheckpoints) -> None:
    made = await checkpoints.create(SPEC, name="one")
    status = PodCheckpointStatus(phase=Phase.PENDING)
    await checkpoints.patch_status(made, status, manager="operator")
    with pytest.raises(Conflict):
        await checkpoints.patch_status(made, status, manager="operator")


async def test_a_terminal_phase_stays(checkpoints: PodCheckpoints) -> None:
    made = await checkpoints.create(SPEC, name="one")
    done = await checkpoints.patch_status(
        made, PodCheckpointStatus(phase=Phase.FAILED), manager="operator"
    )
    with pytest.raises(Invalid, match="final"):
        await checkpoints.patch_status(
            done, PodCheckpointStatus(phase=Phase.PENDING), manager="operator"
        )


async def test_only_cancel_can_be_changed(checkpoints: PodCheckpoints) -> None:
    await checkpoints.create(SPEC, name="one")
    with pytest.raises(Invalid, match="pod cannot be changed"):
        await checkpoints.patch("one", {"spec": {"pod": "other"}})
    with pytest.raises(Invalid, match="namespace cannot be changed"):
        await checkpoints.patch("one", {"spec": {"namespace": None}})
    assert (await checkpoints.cancel("one")).spec.cancel
    assert (await checkpoints.cancel("one")).spec.cancel
    with pytest.raises(Invalid, match="cannot be taken back"):
        await checkpoints.patch("one", {"spec": {"cancel": False}})


async def test_a_rehearsal_leaves_nothing(checkpoints: PodCheckpoints) -> None:
    await checkpoints.create(SPEC, name="one", dry_run=True)
    assert await checkpoints.list() == []


async def test_a_name_is_taken_once(checkpoints: PodCheckpoints) -> None:
    await checkpoints.create(SPEC, name="one")
    with pytest.raises(AlreadyExists):
        await checkpoints.create(SPEC, name="one")


async def test_a_wrong_field_is_refused_by_the_server(cluster: ClusterConnection) -> None:
    made = PodCheckpoint(spec=SPEC).to_dict() | {"metadata": {"name": "x", "namespace": NS}}
    made["spec"]["poed"] = "typo"
    with pytest.raises(Invalid, match="poed"):
        await Objects(cluster, PODCHECKPOINTS).create(made)


async def test_deletions_during_a_gap_are_told(
    loopback: LoopbackCluster, checkpoints: PodCheckpoints
) -> None:
    await checkpoints.create(SPEC, name="one")
    await checkpoints.create(SPEC, name="two")
    async with checkpoints.watch() as events:
        assert [(await anext(events)).type for _ in range(3)][2] is EventType.SYNCED
        async with loopback.away():
            loopback.delete("podcheckpoints", "one", NS)
            loopback.expire_history()
        gone = await anext(events)
        assert gone.type is EventType.DELETED
        assert gone.checkpoint is not None
        assert gone.checkpoint.metadata.name == "one"


async def test_changes_go_on_after_the_streams_broke(
    loopback: LoopbackCluster, checkpoints: PodCheckpoints
) -> None:
    async with checkpoints.watch() as events:
        await anext(events)
        loopback.break_streams()
        loopback.faults.add(Fault("watch", "podcheckpoints", status=429, times=2))
        loopback.faults.add(Fault("watch", "podcheckpoints", status=401, body=""))
        await (
            anyio.wait_all_tasks_blocked()
        )  # until the client has seen that its connections are gone
        await checkpoints.create(SPEC, name="one")
        assert (await anext(events)).type is EventType.ADDED


async def test_a_job_runs_its_log_is_followed_and_it_goes_with_its_pod(
    loopback: LoopbackCluster, cluster: ClusterConnection
) -> None:
    jobs = Objects(cluster, JOBS)
    await jobs.create(job())
    async with listwatch(
        cluster, PODS, namespace=NS, label_selector="job-name=talk", settings=QUICK
    ) as events:
        async for event in events:
            if event.type is EventType.ADDED:
                pod = event.object["metadata"]["name"]
                break
    async with follow_log(cluster, NS, pod, "collector") as lines:
        texts = []
        async for line in lines:
            texts.append(line.text)
            if len(texts) == 2:
                loopback.break_streams()
    assert texts == [b"line %d" % number for number in range(5)]
    await jobs.delete("talk", NS)
    async with listwatch(cluster, PODS, namespace=NS, settings=QUICK) as events:
        async for event in events:
            if event.type is not EventType.ADDED:
                break
    assert (await Objects(cluster, PODS).list(NS)).items == []


def job() -> dict[str, Any]:
    container = {"name": "collector", "image": "i", "command": ["talk"]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    return {"metadata": {"name": "talk", "namespace": NS}, "spec": spec}


async def test_secrets_are_made_replaced_patched_and_deleted(cluster: ClusterConnection) -> None:
    secrets = Objects(cluster, SECRETS)
    made = await secrets.create({"metadata": {"name": "s", "namespace": NS}, "data": {"a": "YQ=="}})
    changed = await secrets.replace(made | {"data": {"b": "Yg=="}})
    assert changed["data"] == {"b": "Yg=="}
    with pytest.raises(Conflict):
        await secrets.replace(made)
    patched = await secrets.patch(
        "s",
        NS,
        [{"op": "add", "path": "/data/c", "value": "Yw=="}],
        content_type=JSON_PATCH,
    )
    assert set(patched["data"]) == {"b", "c"}
    with pytest.raises(Conflict):
        await secrets.delete("s", NS, uid="another")
    await secrets.delete("s", NS, uid=made["metadata"]["uid"])
    await secrets.delete("s", NS, missing_ok=True)


async def test_events_reach_the_server(
    checkpoints: PodCheckpoints, cluster: ClusterConnection
) -> None:
    made = await checkpoints.create(SPEC, name="one")
    async with event_recorder(cluster, "forensics.orkaproj.io/operator", "op-1") as recorder:
        for _ in range(4):
            recorder.record(reference(made), reason="Begun", action="Capture", note="n")
    (event,) = (await Objects(cluster, EVENTS).list(NS)).items
    assert event["series"]["count"] == 4
    assert recorder.dropped == 0


async def test_two_replicas_take_turns(cluster: ClusterConnection) -> None:
    turns: list[str] = []
    timing = LeaseTiming(retry=0.05)

    async def take_turn(identity: str) -> None:
        async def body() -> None:
            turns.append(identity)
            await time_passes(0.2)  # in which the other must not begin
            turns.append(identity)

        await lead(cluster, LeaseName("operator", NS), identity, body, timing=timing)

    async with anyio.create_task_group() as group:
        group.start_soon(take_turn, "a")
        group.start_soon(take_turn, "b")
    assert turns in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


async def test_an_access_review(cluster: ClusterConnection) -> None:
    assert (
        await allowed(cluster, "alice", ["ir"], AccessRequest("create", PODS, "default", "exec"))
    ).allowed
