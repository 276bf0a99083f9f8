"""`packets.pcapng`: the packets of a network namespace, as a packet socket sees them.

Source: packet(7), socket(7)
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from select import POLLIN, poll

from collector.node.abandonable import raise_if_abandoned
from collector.recording import pcapng
from collector.recording.limits import RecordingLimits
from collector.recording.pcapng import Direction

_ALL = 0x0003
_SOL_PACKET, _STATISTICS = 263, 6
_TIMESTAMP = 35
_TIME = struct.Struct("=qq")
_COUNTS = struct.Struct("=II")
_RECEIVE_BUFFER_FORCED = 33
_ROOM = 4 * 1024 * 1024
"""Bytes that the kernel may queue; it doubles them for what it keeps of its own."""
_MIN_CHARGE = 768
"""Bytes of them that the smallest packet takes."""
_LOOPBACK = 772
_OUTGOING = 4
_BURST = 1024
"""Packets between two looks at whether it is over."""
MAX_INTERFACES = 256
"""Interfaces that are described; the packets of others are counted only."""
_WAIT = 100
"""Milliseconds until it is looked again whether it is over."""


@dataclass(slots=True)
class Packets:
    """A packet socket, and what is made of it until somebody drains it."""

    kernel: socket.socket
    limits: RecordingLimits
    lost: int = 0
    """Packets that there was no room for, the kernel's own included."""
    stored: int = 0
    size: int = 0
    _numbers: dict[tuple[str, int], int] = field(default_factory=dict)
    _waiting: list[bytes] = field(default_factory=list)
    _weight: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, limits: RecordingLimits) -> Packets:
        """Open it in the network namespace of this thread. Raises `OSError`."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        kernel = socket.socket(socket.AF_PACKET, kind, socket.htons(_ALL))
        with suppress(OSError):
            kernel.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCED, _ROOM)
        kernel.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        packets = cls(kernel, limits)
        packets._keep(pcapng.section())
        return packets

    def close(self) -> None:
        """Give the socket back."""
        self.kernel.close()

    def run(self, is_over: Callable[[], bool]) -> None:
        """Take packets until it is over, then close; it blocks."""
        with self.kernel:
            self._run(is_over)

    def _run(self, is_over: Callable[[], bool]) -> None:
        buffer = memoryview(bytearray(self.limits.snaplen))
        waiting = poll()
        waiting.register(self.kernel, POLLIN)
        while not is_over():
            raise_if_abandoned()
            if waiting.poll(_WAIT):
                self._take(buffer)
        # What the kernel has room for, and not what goes on coming.
        for _ in range(2 * _ROOM // _MIN_CHARGE // _BURST + 1):
            if self._take(buffer):
                break
        self._finish()

    def _take(self, buffer: memoryview) -> bool:
        """Take packets that wait, up to a burst; say whether these were all."""
        for _ in range(_BURST):
            try:
                length, extra, _, sender = self.kernel.recvmsg_into(
                    [buffer], socket.CMSG_SPACE(_TIME.size), socket.MSG_TRUNC
                )
            except BlockingIOError:
                return True
            except OSError:  # an interface went down: the error is told once
                continue
            name, _, way, hardware, _ = sender
            # On the loopback, what goes out comes in, too.
            if (hardware, way) != (_LOOPBACK, _OUTGOING):
                direction = Direction.OUT if way == _OUTGOING else Direction.IN
                self._add(self._number(name, hardware), buffer[:length], length, extra, direction)
        return False

    def _add(
        self,
        number: int | None,
        data: memoryview,
        length: int,
        extra: list[tuple[int, int, bytes]],
        direction: Direction,
    ) -> None:
        if number is not None and self._keep(
            pcapng.packet(number, _time(extra), bytes(data), length, direction)
        ):
            self.stored += 1
        else:
            self.lost += 1

    def _number(self, name: str, hardware: int) -> int | None:
        """Return the number of an interface in the file; None where there is no room for it."""
        key = name, hardware
        if key not in self._numbers:
            block = pcapng.interface(name, pcapng.link_type(hardware), self.limits.snaplen)
            if len(self._numbers) >= MAX_INTERFACES or not self._keep(block):
                return None
            self._numbers[key] = len(self._numbers)
        return self._numbers[key]

    def _keep(self, block: bytes) -> bool:
        with self._lock:
            full = self._weight + len(block) > self.limits.waiting_size
            if full or self.size + len(block) > self.limits.packets:
                return False
            self._waiting.append(block)
            self._weight += len(block)
            self.size += len(block)
            return True

    def _finish(self) -> None:
        with suppress(OSError):
            told = self.kernel.getsockopt(_SOL_PACKET, _STATISTICS, _COUNTS.size)
            self.lost += _COUNTS.unpack(told)[1]
        if self._numbers:
            block = pcapng.statistics(0, time.time_ns(), self.lost)
            with self._lock:
                self._waiting.append(block)

    def drain(self) -> bytes:
        """Return what came since the last time."""
        with self._lock:
            waiting, self._waiting, self._weight = self._waiting, [], 0
        return b"".join(waiting)


def _time(extra: list[tuple[int, int, bytes]]) -> int:
    """Return when the kernel saw a packet, in nanoseconds since 1970."""
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP) and len(data) >= _TIME.size:
            seconds, nanoseconds = _TIME.unpack_from(data)
            return int(seconds * 10**9 + nanoseconds)
    return time.time_ns()
