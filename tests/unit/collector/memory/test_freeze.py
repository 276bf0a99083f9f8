"""A process is held still with its registers, and goes on whatever becomes of who holds it."""

from __future__ import annotations

import os
import signal
import struct
import sys
from pathlib import Path

import anyio
import pytest

from collector.memory.elf import MACHINES
from collector.memory.freeze import Tracer, TracerReport, same_numbers
from collector.runtimes.runtime import Unavailable
from tests.unit.collector.memory.subjects import Subject, subject

LONG = 600.0
"""Seconds that no test lasts."""
PROC = Path("/proc")

HOLDER = """
import sys, anyio
from pathlib import Path
from collector.memory.freeze import Tracer

async def main(pid):
    await Tracer(Path("/proc")).hold(pid, 600)
    print("held", flush=True)
    await anyio.sleep_forever()

anyio.run(main, int(sys.argv[1]))
"""


def state(pid: int, thread: int | None = None) -> str:
    stat = (PROC / f"{pid}/task/{thread or pid}/stat").read_bytes()
    return stat.rpartition(b")")[2].split()[0].decode()


async def until_it_goes_on(pid: int) -> None:
    while state(pid) == "t":  # noqa: ASYNC110  # nothing tells
        await anyio.sleep(0.01)


async def until_it_is_stopped(pid: int) -> None:
    while state(pid) != "T":  # noqa: ASYNC110  # nothing tells
        await anyio.sleep(0.01)


def goes_on(process: Subject) -> bool:
    """Whether it answers."""
    return process.go_on() == [7]


ANSWERS = "tell(1)\nhear()\ntell(7)\n"


async def test_it_is_held_until_it_is_released() -> None:
    with subject(ANSWERS) as process:
        tracer = Tracer(PROC)
        answer = await tracer.hold(process.pid, LONG)
        assert (answer.total, answer.stopped, answer.error) == (1, 1, 0)
        assert state(process.pid) == "t"
        assert await tracer.release()
        assert goes_on(process)
        await tracer.stop()


async def test_one_tracer_holds_one_process_after_the_other() -> None:
    with subject(ANSWERS) as first, subject(ANSWERS) as second:
        tracer = Tracer(PROC)
        numbers = set()
        for process in (first, second):
            numbers.add((await tracer.hold(process.pid, LONG)).tracer)
            assert await tracer.release()
        assert len(numbers) == 1 and goes_on(first) and goes_on(second)
        await tracer.stop()


async def test_all_threads_are_held_with_their_registers() -> None:
    script = """
for _ in range(20):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
tell(1)
"""
    with subject(script) as process:
        tracer = Tracer(PROC)
        answer = await tracer.hold(process.pid, LONG)
        numbers = {int(entry.name) for entry in Path(f"/proc/{process.pid}/task").iterdir()}
        assert {thread.number for thread in answer.threads} == numbers and len(numbers) == 21
        assert {state(process.pid, number) for number in numbers} == {"t"}
        machine = MACHINES[os.uname().machine]
        for thread in answer.threads:
            assert len(thread.general) == machine.registers and thread.floating
            (pc,) = struct.unpack_from("<Q", thread.general, machine.pc * 8)
            assert is_mapped(process.pid, pc)
        await tracer.stop()


def is_mapped(pid: int, address: int) -> bool:
    lines = (PROC / f"{pid}/maps").read_text().splitlines()
    spans = (line.split()[0].split("-") for line in lines)
    return any(int(start, 16) <= address < int(end, 16) for start, end in spans)


async def test_a_tracer_that_is_killed_lets_go() -> None:
    with subject(ANSWERS) as process:
        tracer = Tracer(PROC)
        answer = await tracer.hold(process.pid, LONG)
        os.kill(answer.tracer, signal.SIGKILL)
        await until_it_goes_on(process.pid)
        assert goes_on(process)
        assert not await tracer.release()
        assert (await tracer.hold(process.pid, LONG)).tracer != answer.tracer
        await tracer.stop()


async def test_a_collector_that_is_killed_leaves_nothing_standing() -> None:
    with subject(ANSWERS) as process:
        holder = await anyio.open_process([sys.executable, "-c", HOLDER, str(process.pid)])
        assert holder.stdout and (await holder.stdout.receive()).startswith(b"held")
        assert state(process.pid) == "t"
        holder.kill()
        await holder.aclose()
        await until_it_goes_on(process.pid)
        assert goes_on(process)


async def test_a_collector_that_stands_still_itself_holds_nothing_past_the_time() -> None:
    with subject(ANSWERS) as process:
        tracer = Tracer(PROC)
        await tracer.hold(process.pid, 0.5)
        await until_it_goes_on(process.pid)
        assert goes_on(process)
        assert not await tracer.release()


async def test_a_signal_that_comes_meanwhile_is_not_lost() -> None:
    script = """
heard = []
for each in (signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(each, lambda *_: heard.append(1))
tell(1)
hear()
tell(len(heard))
"""
    for killed in (False, True):
        with subject(script) as process:
            tracer = Tracer(PROC)
            answer = await tracer.hold(process.pid, LONG)
            process.process.send_signal(signal.SIGUSR1)
            if killed:
                os.kill(answer.tracer, signal.SIGKILL)
            assert await tracer.release() is not killed
            await until_it_goes_on(process.pid)
            process.process.send_signal(signal.SIGUSR2)
            assert process.go_on() == [2]
            await tracer.stop()


async def test_a_process_that_was_stopped_stays_so() -> None:
    with subject(ANSWERS) as process:
        process.process.send_signal(signal.SIGSTOP)
        await until_it_is_stopped(process.pid)
        tracer = Tracer(PROC)
        assert (await tracer.hold(process.pid, LONG)).stopped == 1
        assert await tracer.release()
        # The kernel wakes whom it detaches, and each thread stops again by itself.
        await until_it_is_stopped(process.pid)
        process.process.send_signal(signal.SIGCONT)
        assert goes_on(process)
        await tracer.stop()


async def test_a_process_whose_first_thread_has_ended_is_held_by_the_others() -> None:
    script = """
def answer():
    hear()
    os._exit(0)
threading.Thread(target=answer).start()
tell(1)
LIBC.syscall(93 if os.uname().machine == "aarch64" else 60, 0)
"""
    with subject(script) as process:
        while state(process.pid) != "Z":  # noqa: ASYNC110  # nothing tells
            await anyio.sleep(0.01)
        tracer = Tracer(PROC)
        answer = await tracer.hold(process.pid, LONG)
        assert (answer.total, answer.stopped, answer.error) == (2, 1, 0)
        assert await tracer.release()
        assert process.process.stdin
        process.process.stdin.write("\n")
        process.process.stdin.flush()
        assert process.process.wait() == 0
        await tracer.stop()


async def test_a_process_that_ends_while_it_is_held() -> None:
    with subject("tell(1)") as process:
        tracer = Tracer(PROC)
        await tracer.hold(process.pid, LONG)
        process.process.kill()
        await tracer.release()
        assert process.process.wait() == -signal.SIGKILL
        await tracer.stop()


async def test_a_process_that_is_traced_already() -> None:
    with subject(ANSWERS) as process:
        first, second = Tracer(PROC), Tracer(PROC)
        holding = await first.hold(process.pid, LONG)
        answer: TracerReport = await second.hold(process.pid, LONG)
        assert (answer.stopped, answer.error) == (0, 1)  # EPERM
        assert await second.release()
        assert state(process.pid) == "t" and holding.stopped
        assert await first.release()
        assert goes_on(process)
        await first.stop()
        await second.stop()


async def test_a_process_that_is_not_there() -> None:
    tracer = Tracer(PROC)
    with subject("tell(1)") as process:
        pid = process.pid
    answer = await tracer.hold(pid, LONG)
    assert (answer.total, answer.stopped) == (0, 0)
    assert await tracer.release()
    await tracer.stop()


async def test_a_tracer_that_ends_at_once_is_unavailable() -> None:
    with subject("tell(1)") as process, pytest.raises(Unavailable):
        await Tracer(PROC).hold(process.pid, 0.000001)


def test_numbers_are_the_same_in_our_own_proc_only(tmp_path: Path) -> None:
    assert same_numbers(PROC)
    assert not same_numbers(tmp_path)
    (tmp_path / "self").symlink_to("1")
    assert not same_numbers(tmp_path)
