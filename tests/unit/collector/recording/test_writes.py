"""Which files were written in a span of time, and whether that is all."""

from __future__ import annotations

import anyio

from collector.recording.writes import Writes


def test_only_what_was_written_in_that_time_is_named() -> None:
    writes = Writes(10)
    for path, time in ((b"/before", 1.0), (b"/within", 5.0), (b"/after", 9.0), (b"/long", 1.0)):
        writes.add(path, time)
    writes.add(b"/long", 9.0)
    assert sorted(writes.between(4, 6)) == [b"/long", b"/within"]
    assert writes.is_whole(0, 10)
    writes.close()
    writes.close()


def test_names_past_the_limit_are_known_to_be_missing() -> None:
    writes = Writes(1)
    writes.add(b"/a", 1.0)
    writes.add(b"/b", 5.0)
    writes.add(b"/a", 6.0)
    writes.add(b"/c", 7.0)
    assert not writes.is_whole(4, 8) and not writes.is_whole(6, 6.5)
    assert writes.is_whole(1, 4) and writes.is_whole(8, 9)
    writes.close()


async def test_who_waits_is_told_once_the_queue_was_read() -> None:
    writes, told = Writes(1), list[bool]()

    async def wait() -> None:
        told.append(await writes.settled())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        while not (asking := writes.asking()):
            await anyio.lowlevel.checkpoint()
        writes.answer(asking)
    assert told == [True]
    writes.close()
    assert not await writes.settled()


async def test_who_waits_when_the_recording_ends_is_not_left_waiting() -> None:
    writes, told = Writes(1), list[bool]()

    async def wait() -> None:
        told.append(await writes.settled())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        while not writes.asking():
            await anyio.lowlevel.checkpoint()
        writes.close()
    assert told == [False]
