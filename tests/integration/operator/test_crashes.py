"""Nothing is captured twice, nothing is lost, and no status lies, whatever breaks and whenever."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import pytest

from forensics_core.bundle.verify import verify
from forensics_core.operator.settings import Settings
from forensics_loopback import WRITES, Fault, RunningPod
from tests.integration.operator.stage import NAMESPACE, Document, Stage, condition
from tests.waiting import time_passes

WRITES_OF_A_CHECKPOINT = 10
"""Of one that goes well: finalizer, three statuses, order, Job, order's end, three events."""
EVENTS = 3


async def crash_after(stage: Stage, write: int, settings: Settings | None = None) -> bool:
    """Run an operator, and cancel it at once after its `write`th write. False if there are less."""
    seen = stage.writes()

    async def watch(scope: anyio.CancelScope) -> None:
        # The records have no event that one could wait for.
        while stage.writes() - seen < write:  # noqa: ASYNC110
            await anyio.sleep(0.001)
        scope.cancel()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks, stage.operating(settings):
            tasks.start_soon(watch, scope)
            await stage.finished()
            tasks.cancel_scope.cancel()
    return scope.cancelled_caught


@pytest.mark.parametrize("write", range(1, WRITES_OF_A_CHECKPOINT + 1))
async def test_an_operator_killed_after_any_write_is_taken_up_by_the_next(
    stage: Stage, write: int
) -> None:
    stage.request()
    crashed = await crash_after(stage, write)
    # The last ones are events, which need not come before the end that the test waits for.
    assert crashed or write > WRITES_OF_A_CHECKPOINT - EVENTS, "there are fewer writes than that"
    async with stage.operating():
        status = await stage.finished()
    await whole(stage, status)


async def whole(stage: Stage, status: Document) -> None:
    """Assert that there is one capture, sealed and verified."""
    assert (status["phase"], status["sealed"]) == ("Complete", True), status["conditions"]
    assert len(stage.worker.runs) == 1
    verification = await verify(status["location"], key=stage.public_key, access=stage.access)
    assert verification.problems == ()


async def test_a_checkpoint_takes_no_more_writes_than_promised(stage: Stage) -> None:
    stage.request()
    # Progress, where there is any to tell, comes on top: at most every so many seconds.
    async with stage.operating(stage.settings.model_copy(update={"progress_seconds": 60})):
        await stage.finished()
        await time_passes(0.5)
    assert stage.writes() <= WRITES_OF_A_CHECKPOINT, stage.requests()


@pytest.mark.parametrize("resource", ["podcheckpoints", "podcheckpoints/status", "jobs", "secrets"])
@pytest.mark.parametrize("executed", [False, True], ids=["refused", "answer-lost"])
async def test_a_write_that_fails_is_made_again(
    stage: Stage, resource: str, executed: bool
) -> None:
    stage.request()
    stage.cluster.faults.add(Fault(WRITES, resource, times=2, reset=executed, executed=executed))
    async with stage.operating():
        status = await stage.finished()
    await whole(stage, status)


async def test_two_operators_do_the_work_of_one(stage: Stage) -> None:
    stage.request()
    async with stage.operating(), stage.operating():
        status = await stage.finished()
    await whole(stage, status)


async def test_the_api_server_may_be_away_in_the_middle(stage: Stage) -> None:
    started, go_on = anyio.Event(), anyio.Event()

    async def wait(pod: RunningPod) -> None:
        started.set()
        await go_on.wait()

    stage.worker.before = wait
    stage.request()
    async with stage.operating():
        await started.wait()
        async with stage.cluster.away():
            go_on.set()
            await time_passes(1.0)
        status = await stage.finished()
    await whole(stage, status)


def _ended(pods: Mapping[str, Document] | list[Document]) -> object:
    found = pods.values() if isinstance(pods, Mapping) else pods
    return [pod for pod in found if pod.get("status", {}).get("phase") == "Succeeded"]


async def test_watches_that_break_and_skip_events_lose_nothing(stage: Stage) -> None:
    started, go_on = anyio.Event(), anyio.Event()

    async def wait(pod: RunningPod) -> None:
        started.set()
        await go_on.wait()

    stage.worker.before = wait
    stage.request()
    async with stage.operating():
        await started.wait()
        stage.cluster.faults.skipped_events["pods"] = 5
        stage.cluster.faults.skipped_events["jobs"] = 5
        go_on.set()
        with anyio.fail_after(60):
            await stage.cluster.until("pods", _ended, NAMESPACE)
        stage.cluster.break_streams()
        stage.cluster.expire_history()
        status = await stage.finished()
    await whole(stage, status)


async def test_stale_reads_do_not_capture_twice(stage: Stage) -> None:
    stage.request()
    with stage.cluster.faults.stale_reads("podcheckpoints"):
        async with stage.operating():
            await time_passes(1.0)
    async with stage.operating():
        status = await stage.finished()
    await whole(stage, status)


async def test_a_terminal_phase_is_final(stage: Stage) -> None:
    stage.request(pod="nope")
    async with stage.operating():
        failed = await stage.finished()
        stage.cluster.seed_pod("nope")
        stage.cluster.patch(
            "podcheckpoints", "checkpoint-1", {"metadata": {"labels": {"a": "b"}}}, NAMESPACE
        )
        await time_passes(0.5)
    async with stage.operating():
        await time_passes(0.5)
    assert stage.get()["status"] == failed
    assert condition(failed, "Failed")["reason"] == "NotFound"
    assert stage.worker.runs == []


async def test_finished_checkpoints_at_rest_cost_no_requests(stage: Stage) -> None:
    for number in range(5):
        stage.request(f"checkpoint-{number}", pod="nope")
    async with stage.operating():
        for number in range(5):
            await stage.finished(f"checkpoint-{number}")
        await time_passes(0.5)
        stage.cluster.records.clear()
        await time_passes(1.5)
        assert stage.requests() == {}
