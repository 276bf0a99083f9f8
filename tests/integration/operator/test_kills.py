"""`kill -9` in the middle: not even what cancellation would tidy up is tidied up."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

from tests.integration.operator.stage import Stage
from tests.integration.operator.test_crashes import whole
from tests.integration.operator.test_process import configured
from tests.integration.operator.test_storage_away import Way

SEAL = 10
"""The object that comes after nine of context; the worker's take another way."""


async def killed_after(stage: Stage, way: Way, folder: Path, what: str, number: int) -> bool:
    """Start an operator, and kill it after so many writes or objects; tell whether it had those."""
    rule = stage.settings.destinations[0].model_copy(update={"operator_endpoint": way.endpoint})
    settings = stage.settings.model_copy(update={"destinations": (rule,)})
    command = configured(replace(stage, settings=settings), folder)
    async with await anyio.open_process(command, env={**os.environ}, stdout=None) as process:
        way.on_store = lambda: kill(process) if what == "objects" and way.stored == number else None
        with anyio.move_on_after(40):
            while process.returncode is None and not _over(stage):
                if what == "writes" and stage.writes() >= number:
                    kill(process)
                await anyio.sleep(0.001)
        came_so_far = not _over(stage)
        kill(process)
        await process.wait()
    return came_so_far


def _over(stage: Stage) -> bool:
    return stage.get().get("status", {}).get("phase") in {"Complete", "Failed"}


def kill(process: Process) -> None:
    """End it without a word."""
    if process.returncode is None:
        process.kill()


@pytest.mark.parametrize(
    ("what", "number"),
    [("writes", 2), ("writes", 4), ("writes", 6)]
    + [("objects", number) for number in (1, 5, 9, SEAL)],
)
async def test_an_operator_that_is_killed_is_taken_up_by_the_next(
    stage: Stage, tmp_path: Path, what: str, number: int
) -> None:
    way = Way(stage.access.endpoint_url or "")
    stage.request()
    async with way.running():
        assert await killed_after(stage, way, tmp_path, what, number)
    # Its Lease would be waited for; that has tests of its own.
    async with stage.operating(stage.settings.model_copy(update={"lease_name": "another"})):
        status = await stage.finished()
    await whole(stage, status)
