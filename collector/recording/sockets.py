"""Connections of a network namespace as they come and go: sock_diag, asked again and again.

What begins and ends between two looks is told by its end: the kernel gives notice of each TCP and
UDP socket that it destroys, to whoever may administrate the network. It does so later, from a queue
of each processor, so at the end sockets of our own are sent after all others: once the notices of
these have come, nothing waits in front of them any more.

Source: sock_diag(7), include/uapi/linux/sock_diag.h, inet_diag.h
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from collector.node.diag import FAMILIES
from collector.node.holders import find_holders
from collector.node.listening import BY_FAMILY
from collector.node.netlink import Netlink, attributes
from collector.recording.journal import EventJournal

TABLES = ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")
DIAG = 4
"""The kernel's number of the family."""
_PORTS = slice(4, 40)
"""Of a row: ports and addresses."""
_STATE = 1
_INTERVALS = 4
"""Times the length of a look that pass until the next one."""
_SHOWN = ("protocol", "local", "remote", "state", "uid", "inode")
_MESSAGE = struct.Struct("=IHHII")
_BODY = 72
"""Bytes of a notice in front of its attributes."""
_PROTOCOL = 10
_GROUPS = 0b1111
"""TCP and UDP, of both IPs."""
_BURST = 512
"""Notices that are read before something else has its turn."""
_MAX_MESSAGE = 8192
_COOKIE, _SO_COOKIE = slice(44, 52), 57
"""Of a row, and of a socket: the number that the kernel gives to no second one."""
_NAMES = {6: "tcp", 17: "udp"}
AddressKey = tuple[str, bytes]


def open_diag() -> Netlink:
    """Open what is asked, in the network namespace of this thread. Raises `OSError`."""
    return Netlink(DIAG)


class Notices:
    """What the kernel says of the sockets that it destroys in the namespace of this thread."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._kernel = socket.socket(socket.AF_NETLINK, kind, DIAG)
        try:
            self._kernel.bind((0, _GROUPS))
        except OSError:
            self._kernel.close()
            raise
        self.is_dry = True
        """Whether nothing was left the last time that it was read."""
        self._last: dict[bytes, socket.socket] = {}
        """Sockets of our own, by cookie: bound to no port, so they are in no table."""
        with suppress(OSError):  # a kernel without IPv4
            for _ in os.sched_getaffinity(0):
                own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._last[_cookie(own)] = own

    @property
    def is_late(self) -> bool:
        """Whether the kernel has not yet told all that had ended before `expire` was called."""
        return bool(self._last)

    def expire(self) -> None:
        """Have the kernel destroy our own sockets, one on each processor."""
        processors = os.sched_getaffinity(0)
        try:
            for processor, own in zip(processors, self._last.values(), strict=False):
                with suppress(OSError):  # one that was taken away meanwhile
                    os.sched_setaffinity(0, {processor})
                own.close()
        finally:
            with suppress(OSError):
                os.sched_setaffinity(0, processors)

    @property
    def descriptor(self) -> int:
        """Readable once there are any."""
        return self._kernel.fileno()

    def close(self) -> None:
        """Give the sockets back."""
        self._kernel.close()
        for own in self._last.values():
            own.close()

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield the table that each was in, and its row. Raises `OSError` where some are lost."""
        self.is_dry = False
        for _ in range(_BURST):
            try:
                data, sender = self._kernel.recvfrom(_MAX_MESSAGE)
            except BlockingIOError:
                self.is_dry = True
                return
            body = data[_MESSAGE.size :]
            # 0 is the kernel: processes can send to such a socket, too.
            if sender[0] or len(body) < _BODY:
                continue
            if not self._last.pop(body[_COOKIE], None):
                told = dict(attributes(body[_BODY:])).get(_PROTOCOL, b"\0")
                if name := _NAMES.get(told[0]):
                    yield name + ("6" if body[0] == socket.AF_INET6 else ""), body


@dataclass(slots=True)
class SocketWatch:
    """The sockets of one namespace, of which changes are noted."""

    kernel: Netlink
    journal: EventJournal
    space: str
    """The namespace's name."""
    only_held: bool
    """Whether only sockets that processes of the container hold are told: it is the node's."""
    limit: int
    """Sockets that are compared."""
    interval: float
    notices: Notices | None = None
    next: float = 0.0
    """When to look again, by the monotonic clock."""
    seen: dict[AddressKey, dict[str, Any]] | None = None
    more: int = 0
    """Sockets past the limit, of the fullest look."""
    _states: dict[AddressKey, int] = field(default_factory=dict)
    _ended: set[AddressKey] = field(default_factory=set)
    """Which are known to have ended since the last look."""

    @property
    def end_name(self) -> str:
        """What of the recording the notices are."""
        return f"ends of sockets of {self.space}"

    def close(self) -> None:
        """Give back what is open."""
        self.kernel.close()
        if self.notices:
            self.notices.close()

    def read_events(self) -> None:
        """Take the notices that there are by now. Raises `OSError`."""
        try:
            for name, body in self.notices.read() if self.notices else ():
                key = (name, body[_PORTS])
                row = (self.seen or {}).get(key) or self._decoded(name, body)
                if key not in self._ended and _is_bound(row):
                    self._ended.add(key)
                    self._note_event("socketClosed", row)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.journal.unknown["sockets"] += 1

    def look(self, members: Callable[[], Iterable[int]]) -> None:
        """Ask, and note what is different. Raises `OSError`.

        `members` says which processes there are by then: who opened a socket is older than it.
        """
        begun = time.monotonic()
        found, told, before = dict[AddressKey, int](), dict[AddressKey, dict[str, Any]](), self.seen
        known, new = before or {}, list[AddressKey]()
        more = 0
        for name, body in self._bodies():
            key = (name, body[_PORTS])
            if len(found) >= self.limit and key not in found:
                more += 1
                continue
            found[key] = body[_STATE]
            if key in known and self._states.get(key) == body[_STATE]:
                told[key] = known[key]
                continue
            told[key] = self._decoded(name, body)
            new.append(key)
        self.more = max(self.more, more)
        if before is not None:
            self._note(new, told, before, members)
        self.seen, self._states, self._ended = told, found, set()
        now = time.monotonic()
        self.next = now + max(self.interval, _INTERVALS * (now - begun))

    def _bodies(self) -> Iterator[tuple[str, bytes]]:
        for name in TABLES:
            family = FAMILIES[name]
            with suppress(FileNotFoundError):  # a kernel without that protocol
                for body in self.kernel.dump(BY_FAMILY, family.question):
                    if len(body) >= family.least:
                        yield name, body

    def _decoded(self, name: str, body: bytes) -> dict[str, Any]:
        row = FAMILIES[name].decode(body)
        return {**{each: row[each] for each in _SHOWN}, "namespace": self.space}

    def _note(
        self,
        new: list[AddressKey],
        told: dict[AddressKey, dict[str, Any]],
        before: dict[AddressKey, dict[str, Any]],
        members: Callable[[], Iterable[int]],
    ) -> None:
        if new:
            holders = find_holders(members(), links=16 * 1024, seconds=0.5, others=False).sockets
            for key in new:
                told[key]["pids"] = holders.get(told[key]["inode"], before.get(key, {}).get("pids"))
        for key in new:
            self._note_event("socketState" if key in before else "socketOpened", told[key])
        for key in before.keys() - told.keys() - self._ended:
            self._note_event("socketClosed", before[key])

    def _note_event(self, event: str, row: dict[str, Any]) -> None:
        if row.get("pids") or not self.only_held:
            self.journal.note(event, None, row)


def _cookie(own: socket.socket) -> bytes:
    (number,) = struct.unpack("=Q", own.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8))
    return struct.pack("=II", number & 0xFFFF_FFFF, number >> 32)


def _is_bound(row: dict[str, Any]) -> bool:
    return bool(row["local"]["port"] or row["remote"]["port"])
