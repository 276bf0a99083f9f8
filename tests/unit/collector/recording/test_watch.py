"""A source that fails, or loses events, is told, and the others go on."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.recording.fanotify import Fanotify
from collector.recording.journal import EventJournal
from collector.recording.limits import RecordingLimits
from collector.recording.members import ContainerProcesses
from collector.recording.proc_events import ProcEvents
from collector.recording.watch import ContainerWatch
from collector.recording.writes import WRITTEN, Writes, noting_writes
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes
from tests.integration.collector.artifacts.test_processes import capture_for
from tests.integration.collector.conftest import Bundle
from tests.unit.collector.memory.subjects import subject
from tests.unit.collector.node.test_deletedfiles import holding

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="for root only")


@contextmanager
def watching(pid: int, *masks: int) -> Iterator[ContainerWatch]:
    """Watch a process whose files are told of by a pipe, which has these events."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for mask in masks:
        os.write(writing, struct.pack("=IBBHQii", 24, 3, 0, 24, mask, -1, 0))
    journal = EventJournal(RecordingLimits())
    try:
        yield ContainerWatch(
            ContainerProcesses(pid, ""), journal, Writes(10), 60.0, files=Fanotify(reading)
        )
    finally:
        os.close(writing)


def test_a_full_queue_of_the_kernel_is_noted_with_its_time(tmp_path: Path) -> None:
    with holding(tmp_path, "") as pid, watching(pid, 0x4000) as watch:
        watch.run(lambda: True)
        assert watch.journal.unknown == {"files": 1}
        assert len(watch.writes.missed) == 1 and not watch.failures


def test_mounts_that_cannot_be_watched_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    with holding(tmp_path, "") as pid, watching(pid) as watch:
        watch.mark()
        assert b"/" in watch.mounts.unmarked
        watch.run(lambda: True)
    assert not watch.failures


def test_a_source_that_fails_is_not_asked_again(tmp_path: Path) -> None:
    with holding(tmp_path, "") as pid, watching(pid) as watch:
        assert watch.files
        kept = os.open(tmp_path, os.O_PATH | os.O_CLOEXEC)
        os.dup2(kept, watch.files.descriptor)
        os.close(kept)
        rounds = iter([False, False, True])
        watch.run(lambda: next(rounds))
    assert list(watch.failures) == ["files"]


async def _blocks(event: threading.Event) -> AsyncIterator[bytes]:
    yield b"archive"
    event.set()


async def test_names_that_were_lost_while_an_archive_was_read_are_a_gap(tmp_path: Path) -> None:
    capture, notes = capture_for(Bundle(tmp_path)), SourceNotes()
    capture.writes = Writes(0)
    notes.remark("./told", "file changed as we read it")
    event = threading.Event()
    async for _ in noting_writes(capture, notes, _blocks(event)):
        capture.writes.add(b"/lost", time.monotonic())
        capture.writes.close()
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason) == ("names of files written while read", "ChangedWhileRead")
    assert not gap.requested and not notes.flags and WRITTEN not in str(notes.remarks)
    assert event.is_set() and Flag.TRUNCATED not in notes.flags


async def test_an_archive_without_a_recording_has_no_remarks(tmp_path: Path) -> None:
    notes = SourceNotes()
    blocks = noting_writes(capture_for(Bundle(tmp_path)), notes, _blocks(threading.Event()))
    assert [block async for block in blocks] == [b"archive"] and not notes.remarks


def test_ends_that_wait_in_a_queue_when_it_is_over_are_taken(tmp_path: Path) -> None:
    with holding(tmp_path, "") as pid, watching(pid) as watch, ProcEvents.open() as kernel:
        watch.processes = kernel
        for _ in range(700):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        watch.run(lambda: True)
        assert watch.processes.is_dry or watch.journal.unknown
        assert watch.members.holds(pid)


def test_namespaces_that_are_not_watched_are_named(tmp_path: Path) -> None:
    script = "assert not ctypes.CDLL(None).unshare(0x40020000)"
    with holding(tmp_path, script) as other, watching(os.getpid()) as watch:
        watch.mark()
        watch.members.known = {other}
        watch.look_elsewhere()
        assert not watch.elsewhere.found
        watch.look_elsewhere()
        spaces = {str(Path(f"/proc/{other}/ns/{name}").readlink()) for name in ("mnt", "net")}
    assert set(watch.elsewhere.found) == spaces


def test_processes_past_the_limit_are_counted(tmp_path: Path) -> None:
    with holding(tmp_path, "") as pid:
        members = ContainerProcesses(pid, "", most=0)
        members.known.add(pid)
        assert not members.forked(2**22 - 1, pid) and members.more >= 1


MOUNTED_ANEW = """
assert not LIBC.unshare(0x00020000)
assert not LIBC.mount(b"none", b"/", None, 0x44000, None)
folder = os.environb[b"FOLDER"]
def tmpfs():
    assert not LIBC.mount(b"tmpfs", folder, b"tmpfs", 0, None)
tmpfs()
tell(1)
hear()
assert not LIBC.umount(folder)
tmpfs()
tell(2)
hear()
open(folder + b"/written", "w").write("x")
tell(3)
"""


def test_a_mount_with_the_number_of_one_that_is_gone_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLDER", str(tmp_path))
    with subject(MOUNTED_ANEW) as process:
        journal, files = EventJournal(RecordingLimits()), Fanotify.open()
        members = ContainerProcesses(process.pid, "")
        watch = ContainerWatch(members, journal, Writes(10), 60.0, files=files)
        watch.mark()
        assert process.go_on() == [2]
        steps = iter([False, True])

        def write_at_the_end() -> bool:
            over = next(steps)
            return over and process.go_on() == [3]

        watch.run(write_at_the_end)
    assert f"{tmp_path}/written".encode() in journal.drain()


COVERED = """
assert not LIBC.unshare(0x00020000)
assert not LIBC.mount(b"none", b"/", None, 0x44000, None)
for _ in range(2):
    assert not LIBC.mount(b"tmpfs", os.environb[b"FOLDER"], b"tmpfs", 0, None)
tell(1)
"""


def test_a_mount_beneath_another_one_is_not_watched_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLDER", str(tmp_path))
    with subject(COVERED) as process:
        members = ContainerProcesses(process.pid, "")
        watch = ContainerWatch(
            members, EventJournal(RecordingLimits()), Writes(10), 60.0, files=Fanotify.open()
        )
        watch.mark()
        watch.close()
        covered = f"{tmp_path} (covered)".encode()
        assert watch.mounts.unmarked[covered] == "another one covers it"
        assert str(tmp_path).encode() not in watch.mounts.unmarked


STARTED_ELSEWHERE = """
import subprocess
hear()
child = subprocess.Popen(["unshare", "-m", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(b"x\\n"); child.stdin.flush(); child.stdout.readline()
tell(child.pid)
"""


def test_a_namespace_that_something_is_started_in_is_named_before_the_next_look() -> None:
    with subject("tell(1)" + STARTED_ELSEWHERE) as process, ProcEvents.open() as kernel:
        members = ContainerProcesses(process.pid, "")
        watch = ContainerWatch(
            members, EventJournal(RecordingLimits()), Writes(10), 60.0, processes=kernel
        )
        watch.look_elsewhere()
        members.known = {process.pid}
        (started,) = process.go_on()
        watch.run(lambda: True)
        assert str(Path(f"/proc/{started}/ns/mnt").readlink()) in watch.elsewhere.found
        os.kill(started, 9)
