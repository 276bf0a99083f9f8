"""What the kernel tells of files, processes and sockets: its full queues, and oddities."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from select import select

import pytest

from collector.recording.fanotify import Event, Fanotify
from collector.recording.journal import EventJournal
from collector.recording.limits import RecordingLimits
from collector.recording.members import ContainerProcesses
from collector.recording.packets import Packets
from collector.recording.proc_events import ProcEventKind, ProcEvents
from collector.recording.sockets import Notices, SocketWatch, open_diag
from tests.unit.collector.node.test_deletedfiles import holding

FORCED = 33
"""`SO_RCVBUFFORCE`."""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="for root only")


def test_a_full_queue_of_files_is_told() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    os.write(writing, struct.pack("=IBBHQii", 24, 3, 0, 24, 0x4000, -1, 0))
    with Fanotify(reading) as kernel:
        assert list(kernel.read()) == [Event(0, b"", overflow=True)]
        assert list(kernel.read()) == []
    os.close(writing)


def test_only_regular_files_are_told_of(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for path in (tmp_path, file):
        opened = os.open(path, os.O_RDONLY)
        os.write(writing, struct.pack("=IBBHQii", 24, 3, 0, 24, 0x2, opened, 7))
    with Fanotify(reading) as kernel:
        assert list(kernel.read()) == [Event(7, bytes(file), written=True)]
    os.close(writing)


def test_what_cannot_be_watched_is_an_error() -> None:
    with Fanotify.open() as kernel, pytest.raises(OSError, match="fanotify_mark"):
        kernel.mark(-1, whole=False)


def test_a_full_queue_of_processes_is_told() -> None:
    with ProcEvents.open() as kernel:
        kernel._kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(40):
            subprocess.run(["true"], check=True)
        assert ProcEventKind.OVERFLOW in {event.what for event in kernel.read()}


def test_a_subscription_that_was_closed_is_an_error() -> None:
    kernel = ProcEvents.open()
    kernel.close()
    with pytest.raises(OSError, match="Bad file") as error:
        list(kernel.read())
    assert error.value.errno == errno.EBADF


def test_what_the_kernel_answers_others_is_no_consent() -> None:
    # It answers all who listen, and refuses a process of another namespace without a word.
    code = "from collector.recording.proc_events import ProcEvents; ProcEvents.open()"
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", code]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as other:
        while other.poll() is None:
            ProcEvents.open().close()
        assert other.stderr and "PermissionError" in other.stderr.read()


def test_a_process_that_has_ended_is_remembered(tmp_path: Path) -> None:
    with holding(tmp_path, "") as pid:
        members = ContainerProcesses(pid, "")
        members.known.add(pid)
        assert not members.forked(2**22 - 1, 2**22 - 2)
        assert members.forked(2**22 - 1, pid) and members.holds(2**22 - 1)
        assert members.ended(2**22 - 1) and not members.ended(2**22 - 1)
        assert members.holds(2**22 - 1) is True
        assert members.holds(2**22 - 3) is None


def test_sockets_past_the_limit_are_counted_and_those_of_others_are_left_out() -> None:
    journal = EventJournal(RecordingLimits())
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
            each.listen()
        watch = SocketWatch(open_diag(), journal, "net", True, 1, 0.0, Notices())
        watch.look(list)
        with socket.socket() as third:
            third.bind(("127.0.0.1", 0))
            third.listen()
            watch.limit = 10_000
            watch.look(lambda: [os.getpid()])
            assert watch.more >= 1
            assert f'"port": {third.getsockname()[1]}'.encode() in journal.drain()
            port = third.getsockname()[1]
        told = b""
        # The kernel tells it a little later, from a queue of its own.
        while b"socketClosed" not in told and watch.notices:
            select([watch.notices.descriptor], [], [])
            watch.read_events()
            told += journal.drain()
        assert told.count(b"socketClosed") == 1 and f'"port": {port}'.encode() in told
        watch.look(list)
        assert b"socketClosed" not in journal.drain()
        watch.close()


def test_packets_that_wait_at_the_end_are_taken() -> None:
    packets = Packets.open(RecordingLimits())
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        for _ in range(3000):
            sender.sendto(b"last", ("127.0.0.1", 9))
    packets.run(lambda: True)
    assert packets.stored >= 3000 and packets.drain().count(b"last") >= 3000


def test_packets_that_nobody_drains_are_counted() -> None:
    packets = Packets.open(RecordingLimits(waiting_size=200))
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        for _ in range(10):
            sender.sendto(bytes(100), ("127.0.0.1", 9))
    packets.run(lambda: True)
    assert packets.lost >= 9 and len(packets.drain()) < 400


def test_sockets_that_ended_just_before_the_end_are_told() -> None:
    """The kernel tells of them from a queue of each processor, whenever that has its turn."""
    journal = EventJournal(RecordingLimits())
    for _ in range(20):
        notices = Notices()
        watch = SocketWatch(open_diag(), journal, "net", False, 10_000, 60.0, notices)
        watch.look(list)
        with socket.socket(type=socket.SOCK_DGRAM) as last:
            last.bind(("127.0.0.1", 0))
            port = last.getsockname()[1]
        notices.expire()
        while notices.is_late:
            select([notices.descriptor], [], [])
            watch.read_events()
        assert f'"port": {port}'.encode() in journal.drain()
        watch.close()


def test_threads_take_no_room_in_the_queue_of_processes() -> None:
    with ProcEvents.open() as kernel:
        kernel._kernel.setsockopt(socket.SOL_SOCKET, FORCED, 2 * 1024 * 1024)  # 5,461 events
        for _ in range(4000):
            thread = threading.Thread(target=os.getpid)
            thread.start()
            thread.join()
        subprocess.run(["true"], check=True)
        found = set[ProcEventKind]()
        while not kernel.is_dry or not found:
            found |= {event.what for event in kernel.read()}
    assert found == {ProcEventKind.FORK, ProcEventKind.EXEC, ProcEventKind.EXIT}
