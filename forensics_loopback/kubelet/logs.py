"""Container logs: written by whoever runs the pod, read and followed through `pods/<name>/log`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import anyio

from forensics_loopback.kinds.objects import is_set, parse_time
from forensics_loopback.kinds.status import bad_request


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The query parameters of a log request."""

    follow: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail: int | None = None
    """Lines from the end."""

    @classmethod
    def parse(cls, query: dict[str, str]) -> LogOptions:
        """From a request's query; raises a 400 for what is not understood."""
        try:
            since = parse_time(query["sinceTime"]) if query.get("sinceTime") else None
            if query.get("sinceSeconds"):
                since = datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
            tail = int(query["tailLines"]) if query.get("tailLines") else None
        except ValueError as error:
            raise bad_request(f"invalid log options: {error}") from error
        follow, stamps = is_set(query, "follow"), is_set(query, "timestamps")
        return cls(follow=follow, timestamps=stamps, since=since, tail=tail)


class ContainerLog:
    """The lines of one container, oldest first."""

    def __init__(self) -> None:
        self._lines: list[tuple[datetime, bytes]] = []
        self._partial = b""
        self._closed = False
        self._pulse = anyio.Event()

    def write(self, block: bytes) -> None:
        """Append output; a line counts once its end has come."""
        *lines, self._partial = (self._partial + block).split(b"\n")
        at = datetime.now(UTC)
        self._lines += [(at, line) for line in lines]
        if lines:
            self._signal()

    def close(self) -> None:
        """The container ended: who follows comes to an end."""
        if self._partial:
            self.write(b"\n")
        self._closed = True
        self._signal()

    def _signal(self) -> None:
        self._pulse.set()
        self._pulse = anyio.Event()

    async def read(self, options: LogOptions) -> AsyncIterator[bytes]:
        """The wanted lines, each with its newline; with `follow`, until the container ends."""
        position = 0
        if options.tail is not None:
            position = max(0, len(self._lines) - options.tail)
        while True:
            pulse, closed = self._pulse, self._closed
            lines, position = self._lines[position:], len(self._lines)
            wanted = [self._shown(at, line, options) for at, line in lines if _is_new(at, options)]
            if wanted:
                yield b"".join(wanted)
            if closed or not options.follow:
                return
            await pulse.wait()

    def _shown(self, at: datetime, line: bytes, options: LogOptions) -> bytes:
        stamp = at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() if options.timestamps else b""
        return stamp + line + b"\n"


def _is_new(at: datetime, options: LogOptions) -> bool:
    return options.since is None or at >= options.since


class Logs:
    """All logs, by the pod's UID and the container's name."""

    def __init__(self) -> None:
        self._logs: dict[tuple[str, str], ContainerLog] = {}

    def of(self, pod_uid: str, container: str) -> ContainerLog:
        """The container's log, empty where nothing was written."""
        return self._logs.setdefault((pod_uid, container), ContainerLog())

    def close(self, pod_uid: str) -> None:
        """The pod ended: who follows one of its logs comes to an end."""
        for log in [log for key, log in self._logs.items() if key[0] == pod_uid]:
            log.close()

    def forget(self, pod_uid: str) -> None:
        """The pod is gone, and its logs with it."""
        for key in [key for key in self._logs if key[0] == pod_uid]:
            self._logs.pop(key).close()
