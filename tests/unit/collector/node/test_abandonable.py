"""Reads that never come back are left behind."""

from __future__ import annotations

import subprocess
import sys
import threading

import anyio
import pytest

from collector.node.abandonable import AbandonedThreads, raise_if_abandoned, run_abandonable
from collector.runtimes.runtime import Unavailable


async def test_what_comes_back_is_returned() -> None:
    assert await run_abandonable(60, "a sum", sum, [1, 2]) == 3


async def test_what_fails_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await run_abandonable(60, "a quotient", lambda: 1 // 0)


async def test_what_hangs_is_named() -> None:
    release = threading.Event()
    with pytest.raises(Unavailable, match=r"process 7 took more than 0\.1 s") as caught:
        await run_abandonable(0.1, "process 7", release.wait)
    release.set()
    assert caught.value.reason == "Hung"


async def test_what_there_is_no_time_for_is_not_begun() -> None:
    begun = list[int]()
    with pytest.raises(Unavailable, match="No time was left for reading process 7") as caught:
        await run_abandonable(0, "process 7", begun.append, 1)
    assert caught.value.reason == "Hung" and not begun


async def test_cancelling_does_not_wait_for_it() -> None:
    release = threading.Event()
    with anyio.move_on_after(0.05) as scope:
        await run_abandonable(60, "a lock", release.wait)
    release.set()
    assert scope.cancelled_caught


def test_a_program_ends_although_a_read_does_not() -> None:
    program = """
import anyio, threading
from collector.node.abandonable import run_abandonable
from collector.runtimes.runtime import Unavailable
async def main():
    try:
        await run_abandonable(0.1, "a lock", threading.Event().wait)
    except Unavailable as why:
        print(why.reason)
anyio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, b"Hung\n")


async def test_a_thread_that_is_not_waited_for_any_more_ends_at_its_next_step() -> None:
    begin, ended = threading.Event(), threading.Event()

    def eat() -> None:
        begin.wait()
        try:
            while True:
                raise_if_abandoned()
        finally:
            ended.set()

    with pytest.raises(Unavailable):
        await run_abandonable(0.05, "a flood", eat)
    begin.set()
    assert await anyio.to_thread.run_sync(ended.wait, 50)


async def test_with_too_many_reads_that_hang_no_further_one_is_begun() -> None:
    release, abandoned = threading.Event(), AbandonedThreads(2)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await run_abandonable(0.01, "a lock", release.wait, abandoned=abandoned)
    begun = list[int]()
    with pytest.raises(Unavailable, match=r"2 other reads hang, process 9 is not begun"):
        await run_abandonable(60, "process 9", begun.append, 1, abandoned=abandoned)
    assert not begun
    release.set()
    for thread in abandoned.threads:
        await anyio.to_thread.run_sync(thread.join)
    await run_abandonable(60, "process 9", begun.append, 1, abandoned=abandoned)
    assert begun
