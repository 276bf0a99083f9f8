"""Findings in the status: from real objects in S3, within the writes of a checkpoint."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from forensics_core.api.order import ArtifactKind
from forensics_core.storage.s3.client import s3_client
from forensics_loopback import ContainerExit, RunningPod
from lab.idle import order_of
from tests.integration.operator.stage import Document, Stage, timed
from tests.integration.operator.test_crashes import WRITES_OF_A_CHECKPOINT, crash_after, whole
from tests.unit.readers.evidence import change, process
from tests.waiting import time_passes

DIFF = {"changes": [change("/tmp/miner", mode="0755"), change("/root/.ssh/authorized_keys")]}
PROCESSES = {"processes": [process(7, "/tmp/miner"), process(8, "/tmp/miner")]}
TRACES = {
    ArtifactKind.DIFF: json.dumps(DIFF).encode(),
    ArtifactKind.PROCESSES: json.dumps(PROCESSES).encode(),
    ArtifactKind.NETWORK: b'{"namespaces":[\n]}\n',
}


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest) -> None:
    """Let no busy machine be the reason for having no findings."""
    for name in {"stage", "versioned_stage"} & {*request.fixturenames}:
        stage: Stage = request.getfixturevalue(name)
        stage.settings = timed(stage, findings=60)


def check(status: Document) -> None:
    found = status["findings"]
    assert (found["total"], found["bySeverity"]) == (4, {"high": 3, "medium": 1, "low": 0})
    first = found["first"][0]
    assert (first["rule"], first["count"]) == ("running-program-not-in-image", 2)
    assert first["message"].startswith("2 programs run that are not in the image: process 7")
    assert found["notLookedAt"] == 0


async def test_the_status_tells_what_runs_that_is_not_in_the_image(stage: Stage) -> None:
    stage.worker.contents = TRACES
    stage.request()
    async with stage.operating(stage.settings.model_copy(update={"progress_seconds": 60})):
        check(await stage.finished())
        await time_passes(0.5)
    assert stage.writes() <= WRITES_OF_A_CHECKPOINT, stage.requests()


@pytest.mark.parametrize("write", [4, 5, 6, 7])
async def test_an_operator_killed_on_the_way_tells_them_all_the_same(
    stage: Stage, write: int
) -> None:
    stage.worker.contents = TRACES
    stage.request()
    await crash_after(stage, write)
    async with stage.operating():
        status = await stage.finished()
    await whole(stage, status)
    check(status)


async def test_switched_off_it_tells_none(stage: Stage) -> None:
    stage.worker.contents = TRACES
    stage.request()
    async with stage.operating(stage.settings.model_copy(update={"findings": False})):
        status = await stage.finished()
    assert (status["phase"], status["sealed"], "findings" in status) == ("Complete", True, False)


async def test_another_version_of_a_document_forges_no_findings(versioned_stage: Stage) -> None:
    """The version is read that was compared: a node may add objects, and so hide nothing."""
    stage = versioned_stage
    stage.worker.contents = TRACES

    async def forge(pod: RunningPod) -> ContainerExit:
        order, digest = order_of(pod)
        await stage.worker.store(order, digest, pod)
        url = urlsplit(f"{order.destination}/{order.bundle}/containers/app/processes.json")
        async with s3_client(stage.access) as client:
            await client.put_object(
                Bucket=url.netloc, Key=url.path.lstrip("/"), Body=b'{"processes":[\n]}\n'
            )
        return ContainerExit()

    stage.worker.before = forge
    stage.request()
    async with stage.operating():
        check(await stage.finished())
