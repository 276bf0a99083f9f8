"""Collectors that are told to end though nobody cancelled: a drained node, an eviction."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from forensics_core.bundle.layout import is_of_attempt
from forensics_core.bundle.manifest import NotCaptured
from forensics_core.bundle.verify import verify
from forensics_loopback import ContainerExit, RunningPod
from lab.idle import order_of
from tests.integration.operator.stage import NAMESPACE, Document, Stage, condition, timed
from tests.integration.operator.test_crashes import crash_after
from tests.integration.operator.test_trouble import said

STOPPED = NotCaptured(what="filesystem", container="app", reason="Interrupted", message="Stopped")


async def ends_early(stage: Stage, pod: RunningPod) -> ContainerExit:
    """Do what the collector does on SIGTERM: store what there is, and say what is missing."""
    # Given to this run alone: the next attempt may run at the same time.
    await stage.worker.store(*order_of(pod), gaps=(STOPPED,))
    return ContainerExit(exit_code=4)


def interrupting(stage: Stage, *attempts: int) -> None:
    """Have these attempts interrupted."""

    async def worker(pod: RunningPod) -> ContainerExit | None:
        return await ends_early(stage, pod) if len(stage.worker.runs) in attempts else None

    stage.worker.before = worker


async def assert_sealed(stage: Stage, status: Document) -> None:
    """Assert that the bundle is sealed and whole."""
    assert (status["phase"], status["sealed"]) == ("Complete", True), status["conditions"]
    verification = await verify(status["location"], key=stage.public_key, access=stage.access)
    assert verification.problems == ()


async def secrets_left(stage: Stage) -> None:
    """Wait until only the collector's credentials are left."""
    with anyio.fail_after(10):
        await stage.cluster.until("secrets", lambda left: len(list(left)) == 1, NAMESPACE)


async def test_an_interrupted_attempt_is_followed_by_one_that_has_it_all(stage: Stage) -> None:
    interrupting(stage, 1)
    stage.request()
    async with stage.operating():
        status = await stage.finished()
        await said(stage, "What it had is stored at s3://")
        await secrets_left(stage)
    await assert_sealed(stage, status)
    assert condition(status, "Partial") == {}
    assert (status["attempt"], status["failed"], status["succeeded"]) == (2, 1, 1)


async def test_a_drained_worker_is_an_interruption(stage: Stage) -> None:
    """Its pod is gone by then, so the operator waits a while for what it had to say."""
    started = anyio.Event()

    async def until_told(pod: RunningPod) -> ContainerExit | None:
        if len(stage.worker.runs) > 1:
            return None
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await ends_early(stage, pod)
        return None

    stage.worker.before = until_told
    stage.request()
    async with stage.operating(timed(stage, silence=1)):
        await started.wait()
        (worker,) = stage.cluster.list("pods", NAMESPACE)
        stage.cluster.delete("pods", worker["metadata"]["name"], NAMESPACE)
        status = await stage.finished()
    await assert_sealed(stage, status)
    assert status["attempt"] == 2


async def test_the_last_attempt_takes_what_there_is(stage: Stage) -> None:
    interrupting(stage, 1, 2, 3)
    stage.request()
    async with stage.operating():
        status = await stage.finished()
        await secrets_left(stage)
    await assert_sealed(stage, status)
    assert condition(status, "Partial")["reason"] == "Interrupted"
    assert status["attempt"] == 3


async def test_without_the_pod_what_was_interrupted_is_taken(stage: Stage) -> None:
    async def drained(pod: RunningPod) -> ContainerExit:
        stage.cluster.delete("pods", "web-0", "default", gracePeriodSeconds="0")
        return await ends_early(stage, pod)

    stage.worker.before = drained
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    await assert_sealed(stage, status)
    assert (status["attempt"], condition(status, "Partial")["reason"]) == (1, "Interrupted")


@pytest.mark.parametrize("then", ["dies", "its pod goes"])
async def test_what_was_interrupted_is_taken_if_nothing_better_comes(
    stage: Stage, then: str
) -> None:
    async def worker(pod: RunningPod) -> ContainerExit:
        if len(stage.worker.runs) == 1:
            return await ends_early(stage, pod)
        if then == "its pod goes":
            stage.cluster.delete("pods", "web-0", "default", gracePeriodSeconds="0")
        return ContainerExit(exit_code=137, reason="OOMKilled")

    stage.worker.before = worker
    stage.request()
    async with stage.operating():
        status = await stage.finished()
        await said(stage, "stored by attempt 1")
        await secrets_left(stage)
    await assert_sealed(stage, status)
    assert condition(status, "Partial")["reason"] == "Interrupted"
    assert is_of_attempt(status["location"], 1)
    assert len(stage.worker.runs) == (3 if then == "dies" else 2)


async def test_what_was_interrupted_and_is_not_there_any_more_is_no_result(stage: Stage) -> None:
    async def worker(pod: RunningPod) -> ContainerExit:
        if len(stage.worker.runs) > 1:
            stage.cluster.delete("secrets", f"{stage.get()['status']['jobName'][:-1]}1", NAMESPACE)
            return ContainerExit(exit_code=1)
        return await ends_early(stage, pod)

    stage.worker.before = worker
    stage.request()
    async with stage.operating(stage.settings.model_copy(update={"max_attempts": 2})):
        status = await stage.finished()
    assert status["phase"] == "Failed"


async def test_deleted_before_its_seal_a_capture_is_sealed_first(
    stage: Stage, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    good = key.read_bytes()
    key.write_bytes(b"no key")
    stage.request()
    async with stage.operating():
        found = await stage.until(lambda item: item.get("status", {}).get("phase") == "Sealing")
        stage.cluster.delete("podcheckpoints", "checkpoint-1", NAMESPACE)
        key.write_bytes(good)
        with anyio.fail_after(30):
            await stage.cluster.until("podcheckpoints", lambda items: not list(items), NAMESPACE)
        await secrets_left(stage)
    location = found["status"]["location"]
    verification = await verify(location, key=stage.public_key, access=stage.access)
    assert verification.problems == ()


@pytest.mark.parametrize("write", range(5, 14))
async def test_an_operator_killed_on_the_way_through_an_interruption_loses_nothing(
    stage: Stage, write: int
) -> None:
    async def worker(pod: RunningPod) -> ContainerExit:
        if order_of(pod)[0].attempt == 1:
            return await ends_early(stage, pod)
        return ContainerExit(exit_code=137, reason="OOMKilled")

    stage.worker.before = worker
    settings = stage.settings.model_copy(update={"max_attempts": 2})
    stage.request()
    assert await crash_after(stage, write, settings)
    async with stage.operating(settings):
        status = await stage.finished()
    await assert_sealed(stage, status)
    assert is_of_attempt(status["location"], 1)
    assert [order.attempt for order in stage.worker.runs] == [1, 2]
