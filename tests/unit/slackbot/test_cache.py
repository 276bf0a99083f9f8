"""Answers that are cached for a while."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from slackbot.cache import SharedAnswers


class Source:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.broken = False

    async def __call__(self) -> int:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if self.broken:
            raise OSError("away")
        return self.asked


async def test_concurrent_callers_share_one_answer() -> None:
    known: SharedAnswers[int] = SharedAnswers(60)
    source, answers = Source(), []

    async def ask() -> None:
        answers.append(await known.get("a", source))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert answers == [1] * 20
    assert await known.get("b", source) == 2


async def test_what_is_old_is_asked_again() -> None:
    known: SharedAnswers[int] = SharedAnswers(0)
    source = Source()
    assert [await known.get("a", source), await known.get("a", source)] == [1, 2]


async def test_errors_are_not_cached() -> None:
    known: SharedAnswers[int] = SharedAnswers(60)
    source = Source()
    source.broken = True
    with pytest.raises(OSError, match="away"):
        await known.get("a", source)
    source.broken = False
    assert await known.get("a", source) == 2


@pytest.mark.parametrize("seconds", [0, 60])
async def test_the_cache_is_bounded(seconds: float) -> None:
    known: SharedAnswers[int] = SharedAnswers(seconds, limit=3)
    for number in range(4):
        await known.get(str(number), Source())
    assert len(known._known) <= 3
    assert len(known._locks) <= 3
