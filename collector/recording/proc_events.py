"""Forks, execs and exits, told by the kernel as they happen: the process connector.

It tells of the whole machine, and only who is in its first namespaces and may administrate its
network::

    with ProcEvents.open() as kernel:
        for event in kernel.read():
            print(event.what, event.pid)

Source: include/uapi/linux/cn_proc.h, connector.h, filter.h; Documentation/driver-api/connector.rst
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple, Self

_CONNECTOR, _GROUP, _CHANNEL = 11, 1, 1
_NETLINK, _MESSAGE = struct.Struct("=IHHII"), struct.Struct("=IIIIHH")
_HEAD = struct.Struct("=IIQ")
"""What happened, on which processor, and when."""
_RECEIVE_BUFFER_FORCED = 33
_LISTEN, _NONE = 1, 0
_FORK, _EXEC, _EXIT = 0x1, 0x2, 0x80000000
_ATTACH_FILTER = 26
_LOAD, _TO_INDEX, _JUMP, _EQUAL, _EQUAL_INDEX, _RETURN = 0x20, 0x07, 0x05, 0x15, 0x1D, 0x06
"""Instructions of classic BPF: `ld [k]`, `tax`, `ja`, `jeq #k`, `jeq x`, `ret #k`."""
_INSTRUCTION = struct.Struct("=HBBI")
_ALL, _NOTHING = 0xFFFFFFFF, 0
"""Bytes of a message that are queued."""
_ROOM = 8 * 1024 * 1024
"""Bytes that the kernel may queue: of all processes of the machine, and it counts 768 for each."""
_ANSWER_TIMEOUT = 1000
"""Milliseconds until the kernel has answered, unless it refuses without a word."""
_MAX_MESSAGE = 4096
"""Bytes that one message may have."""
_BURST = 512
"""Messages of one reading."""


class ProcEventKind(StrEnum):
    """What can happen to a process."""

    FORK = "fork"
    EXEC = "exec"
    EXIT = "exit"
    OVERFLOW = "overflow"
    """Nothing: an unknown number of events is lost."""


class ProcEvent(NamedTuple):
    """One event; of threads only that of the first one is told."""

    what: ProcEventKind
    pid: int
    parent: int = 0
    status: int = 0
    """At its exit, as `waitpid` has it."""


class ProcEvents:
    """A subscription. Everything raises `OSError`."""

    def __init__(self, kernel: socket.socket) -> None:
        self._kernel = kernel
        self.is_dry = True
        """Whether nothing was left the last time that it was read."""

    @classmethod
    def open(cls) -> Self:
        """Subscribe. Raises `PermissionError` where the kernel does not tell this process."""
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        kernel = socket.socket(socket.AF_NETLINK, kind, _CONNECTOR)
        try:
            with suppress(OSError):
                kernel.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCED, _ROOM)
            _attach_filter(kernel)
            kernel.bind((0, _GROUP))
            number = secrets.randbits(31)
            _ask(kernel, number)
        except BaseException:
            kernel.close()
            raise
        return cls(kernel)

    @property
    def descriptor(self) -> int:
        """Readable once there are events."""
        return self._kernel.fileno()

    def close(self) -> None:
        """End the subscription."""
        self._kernel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Iterator[ProcEvent]:
        """Yield what is queued, some messages of it; nothing where there is nothing."""
        self.is_dry = False
        for _ in range(_BURST):
            try:
                data, sender = self._kernel.recvfrom(_MAX_MESSAGE)
            except BlockingIOError:
                self.is_dry = True
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield ProcEvent(ProcEventKind.OVERFLOW, 0)
            else:
                # Only the kernel is believed: its port is 0.
                if not sender[0] and (event := _event(data)):
                    yield event


def _attach_filter(kernel: socket.socket) -> None:
    """Have the kernel queue nothing of threads and names: most that it tells is of these."""
    what = _NETLINK.size + _MESSAGE.size
    first = what + _HEAD.size
    # A filter reads numbers as the network has them, whatever the processor's order is.
    fork, executed, ended = (socket.htonl(number) for number in (_FORK, _EXEC, _EXIT))
    program = (
        (_LOAD, 0, 0, what),
        (_EQUAL, 12, 0, _NONE),
        (_EQUAL, 11, 0, executed),
        (_EQUAL, 2, 0, fork),
        (_EQUAL, 5, 0, ended),
        (_RETURN, 0, 0, _NOTHING),
        # Of a fork the child's number, of an exit its own: a thread's is not that of its process.
        (_LOAD, 0, 0, first + 8),
        (_TO_INDEX, 0, 0, 0),
        (_LOAD, 0, 0, first + 12),
        (_JUMP, 0, 0, 3),
        (_LOAD, 0, 0, first),
        (_TO_INDEX, 0, 0, 0),
        (_LOAD, 0, 0, first + 4),
        (_EQUAL_INDEX, 0, 1, 0),
        (_RETURN, 0, 0, _ALL),
        (_RETURN, 0, 0, _NOTHING),
    )
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*each) for each in program))
    kernel.setsockopt(
        socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
    )


def _request(operation: int, number: int) -> bytes:
    body = struct.pack("=I", operation)
    message = _MESSAGE.pack(_GROUP, _CHANNEL, 0, number, len(body), 0) + body
    return _NETLINK.pack(_NETLINK.size + len(message), 3, 0, 0, os.getpid()) + message


def _ask(kernel: socket.socket, number: int) -> None:
    """Ask to be told, and wait for consent: in other namespaces than its first it says nothing."""
    waiting = select.poll()
    waiting.register(kernel, select.POLLIN)
    kernel.send(_request(_LISTEN, number))
    until = time.monotonic() + _ANSWER_TIMEOUT / 1000
    # What it tells others arrives all the same, its answers to them included.
    while time.monotonic() < until and waiting.poll(_ANSWER_TIMEOUT):
        try:
            data, sender = kernel.recvfrom(_MAX_MESSAGE)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            # The answer may be among what was lost.
            kernel.send(_request(_LISTEN, number))
            continue
        answered, what, code = _parts(data)
        if not sender[0] and (answered, what) == (number + 1, _NONE):
            if code:
                raise OSError(code, f"The process connector refuses: {os.strerror(code)}")
            return
    raise PermissionError(errno.EPERM, "The process connector does not tell this process")


def _parts(data: bytes) -> tuple[int, int, int]:
    """Return which request a message answers, what it tells, and its first number."""
    start = _NETLINK.size + _MESSAGE.size
    _, _, _, answered, _, _ = _MESSAGE.unpack_from(data, _NETLINK.size)
    what, _, _ = _HEAD.unpack_from(data, start)
    return answered, what, struct.unpack_from("=I", data, start + _HEAD.size)[0]


def _event(data: bytes) -> ProcEvent | None:
    start = _NETLINK.size + _MESSAGE.size
    if len(data) < start + _HEAD.size + 16:
        return None
    what, _, _ = _HEAD.unpack_from(data, start)
    thread, process, third, fourth = struct.unpack_from("=IIII", data, start + _HEAD.size)
    match what:
        case 0x1 if third == fourth:
            return ProcEvent(ProcEventKind.FORK, fourth, process)
        case 0x2:
            return ProcEvent(ProcEventKind.EXEC, process)
        case 0x80000000 if thread == process:
            return ProcEvent(ProcEventKind.EXIT, process, status=third)
    return None
