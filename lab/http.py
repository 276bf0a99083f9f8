"""Just enough HTTP/1.1, on blocking sockets, to throw bodies away at memory speed."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

CHUNK = 1024 * 1024
LONGEST_HEAD = 64 * 1024
BURST = 0.02
"""Seconds that a link may lie idle and make up for it afterwards."""


class ConnectionClosed(Exception):  # never leaves the lab
    """The connection is at its end."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request before its body."""

    method: str
    path: str
    """Decoded, without the query."""
    query: dict[str, str]
    headers: dict[str, str]
    """With names in lower case."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self, *, head_only: bool = False) -> bytes:
        """Return the bytes on the wire; a response to HEAD has no body."""
        fields = {
            "Date": formatdate(usegmt=True),
            "Server": "lab",
            "Content-Length": str(len(self.body)),
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return head if head_only else head + self.body


class NetworkLink:
    """A network's speed, shared by all connections over it."""

    def __init__(self, rate: float, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = now
        self._lock = threading.Lock()
        self._free_at = 0.0

    def occupy(self, size: int) -> float:
        """Send `size` bytes over it; return the seconds until they have arrived."""
        now = self._now()
        with self._lock:
            self._free_at = max(self._free_at, now - BURST) + size / self._rate
            return max(0.0, self._free_at - now)


class Connection:
    """One connection of a client, served by one thread."""

    def __init__(
        self, sock: socket.socket, stopping: threading.Event, link: NetworkLink | None = None
    ) -> None:
        self._socket = sock
        self._stopping = stopping
        self._link = link
        # Linux drops a TCP stream's bytes without copying them: tcp(7). TLS has to decrypt them.
        self._discarding = 0 if isinstance(sock, ssl.SSLSocket) else socket.MSG_TRUNC
        self._ahead = bytearray()
        self._waste = bytearray(CHUNK)

    def read_head(self) -> Head:
        """Read a request's line and headers. Raises `ConnectionClosed` if there is none to come."""
        lines = self._read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        split = urlsplit(target)
        pairs = (line.partition(":") for line in lines[1:])
        return Head(
            method,
            unquote(split.path),
            dict(parse_qsl(split.query, keep_blank_values=True)),
            {name.strip().lower(): value.strip() for name, _, value in pairs},
        )

    def body(self, head: Head) -> RequestBody:
        """Return what reads this request's body; the next request comes after it."""
        if head.headers.get("expect", "").lower() == "100-continue":
            return RequestBody(self, head, b"HTTP/1.1 100 Continue\r\n\r\n")
        return RequestBody(self, head, b"")

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._socket.sendall(data)

    def reset(self) -> None:
        """Close so that the client sees `ECONNRESET`, not an orderly end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def narrow(self) -> None:
        """Let hardly anything wait in the kernel, so that the client feels a slow reader."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)

    def pause(self, seconds: float) -> None:
        """Do nothing for a while. Raises `ConnectionClosed` if the server is being stopped."""
        if self._stopping.wait(seconds):
            raise ConnectionClosed

    def read_line(self) -> bytes:
        """Read a line, without its end."""
        return self._read_until(b"\r\n")

    def discard(self, most: int) -> int:
        """Throw away up to `most` bytes, at least one; return how many."""
        if self._ahead:
            taken = min(most, len(self._ahead))
            del self._ahead[:taken]
            return taken
        taken = self._socket.recv_into(self._waste, min(most, CHUNK), self._discarding)
        self._arrived(taken)
        return taken

    def take(self, most: int) -> bytes:
        """Read up to `most` bytes, at least one."""
        if not self._ahead:
            self._receive()
        taken = bytes(self._ahead[:most])
        del self._ahead[:most]
        return taken

    def _read_until(self, end: bytes) -> bytes:
        while (at := self._ahead.find(end)) < 0:
            if len(self._ahead) > LONGEST_HEAD:
                raise ConnectionClosed
            self._receive()
        found = bytes(self._ahead[:at])
        del self._ahead[: at + len(end)]
        return found

    def _receive(self) -> None:
        data = self._socket.recv(LONGEST_HEAD)
        self._arrived(len(data))
        self._ahead += data

    def _arrived(self, size: int) -> None:
        """Let bytes have taken their time. Raises `ConnectionClosed` if there are none."""
        if not size:
            raise ConnectionClosed
        if self._link:
            self.pause(self._link.occupy(size))


class RequestBody:
    """A request's body, of known length or chunked."""

    def __init__(self, connection: Connection, head: Head, go_ahead: bytes) -> None:
        self._connection = connection
        self._go_ahead = go_ahead
        self._chunked = "chunked" in head.headers.get("transfer-encoding", "").lower()
        self.length = None if self._chunked else int(head.headers.get("content-length", "0"))
        """Bytes; None for a chunked body."""
        self.size = 0
        """Bytes read so far, without the framing of chunks."""

    def discard(self, limit: int | None = None, rate: int = 0) -> None:
        """Throw the body away: all of it or `limit` bytes, at `rate` bytes per second."""
        step = max(1, rate // 20) if rate else CHUNK
        for piece in self._pieces():
            while piece.left and (limit is None or self.size < limit):
                most = min(piece.left, step, CHUNK if limit is None else limit - self.size)
                self._count(piece, self._connection.discard(most))
                if rate:
                    self._connection.pause(0.05)
            if limit is not None and self.size >= limit:
                return

    def read(self) -> bytes:
        """Return the whole body."""
        data = bytearray()
        for piece in self._pieces():
            while piece.left:
                part = self._connection.take(piece.left)
                self._count(piece, len(part))
                data += part
        return bytes(data)

    def _count(self, piece: _BodyRun, taken: int) -> None:
        piece.left -= taken
        self.size += taken

    def _pieces(self) -> Iterator[_BodyRun]:
        if self._go_ahead:
            self._connection.send(self._go_ahead)
        if self.length is not None:
            yield _BodyRun(self.length)
            return
        while size := int(self._connection.read_line().split(b";")[0], 16):
            yield _BodyRun(size)
            self._connection.read_line()
        while self._connection.read_line():
            pass  # trailers


@dataclass(slots=True)
class _BodyRun:
    """A run of body bytes without framing in between."""

    left: int
