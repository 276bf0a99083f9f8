"""A container's log, followed line by line and taken up again after every interruption.

async with follow_log(cluster, "forensics-system", pod, "collector") as log_lines:
    async for line in log_lines:
        print(line.text)
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core.errors import ApiUnavailable, ClusterError, Invalid, NotFound
from forensics_core.kube.answers import lines
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Objects
from forensics_core.kube.resources import PODS

LINE_LIMIT = 64 * 1024
"""Bytes of a line; longer ones are cut."""
IDLE = 120.0
"""Seconds of silence after which the log is asked for again from where it was."""
_STAMP = re.compile(rb"(\S{20,40}) ")
_FRACTION = re.compile(r"\.(\d+)")

Instant = tuple[int, int]
"""Seconds since 1970 and nanoseconds: more than `datetime` can hold."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, as the node has it: hostile input."""

    text: bytes
    """Without the newline, cut to `LINE_LIMIT`."""
    time: datetime | None
    """When the node says that it was written; None if it says nothing legible."""


@asynccontextmanager
async def follow_log(
    cluster: ClusterConnection,
    namespace: str,
    pod: str,
    container: str,
    *,
    since: datetime | None = None,
    idle: float = IDLE,
    backoff: Backoff | None = None,
) -> AsyncIterator[AsyncIterator[LogLine]]:
    """Yield each line once, from the beginning or from `since` (whole seconds), to the end.

    It waits for the container to start, and ends when it has terminated or its pod is gone.
    Raises `NotFound` if there is no pod at first, `Invalid` if it has no such container.
    """
    path = PODS.path(namespace, pod, "log")
    follower = _Follower(
        cluster, namespace, pod, container, path, idle, backoff or Backoff(0.5, 5.0), since
    )
    async with aclosing(follower.lines()) as log_lines:
        yield log_lines


@dataclass(slots=True)
class _Follower:
    cluster: ClusterConnection
    namespace: str
    pod: str
    container: str
    path: str
    idle: float
    backoff: Backoff
    since: datetime | None
    last: Instant = (0, 0)
    at_last: int = 0
    """Lines that bore the instant `last`: one write can be several lines."""
    found: bool = False

    async def lines(self) -> AsyncGenerator[LogLine, None]:
        over = False
        while not over:
            pause = None
            try:
                # Asked before reading: only then is a clean end the end of everything.
                ended = await self._terminated()
                async with aclosing(self._read()) as log_lines:
                    async for line in log_lines:
                        yield line
                over = ended
            except ClusterError as error:
                over, pause = self._after(error)
            if not over:
                await anyio.sleep(self.backoff.next(pause))

    def _after(self, error: ClusterError) -> tuple[bool, float | None]:
        """Return whether an error ends the log, and the pause that the server asked for."""
        if isinstance(error, ApiUnavailable):
            return False, error.retry_after
        if isinstance(error, NotFound) and self.found:
            return True, None
        if isinstance(error, Invalid) and "waiting to start" in error.message:
            return False, None
        raise error

    async def _terminated(self) -> bool:
        pod = await Objects(self.cluster, PODS).get(self.pod, self.namespace)
        self.found = True
        status = pod.get("status", {})
        states = [
            container.get("state", {})
            for group in ("containerStatuses", "initContainerStatuses")
            for container in status.get(group) or ()
            if container["name"] == self.container
        ]
        ended = any("terminated" in state for state in states)
        return ended or status.get("phase") in {"Succeeded", "Failed"}

    async def _read(self) -> AsyncGenerator[LogLine, None]:
        query = {"container": self.container, "follow": "true", "timestamps": "true"}
        if self.since is not None:
            query["sinceTime"] = self.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        resumed_at, skip = self.last, self.at_last
        async with self.cluster.stream(
            self.path, query=query, idle=self.idle, accept="*/*"
        ) as chunks:
            async for raw in lines(chunks, LINE_LIMIT):
                instant, line = parse_line(raw)
                self.backoff.reset()
                if instant is not None and instant <= resumed_at:
                    # `sinceTime` has whole seconds: the first lines may be known already.
                    skip -= instant == resumed_at
                    if instant < resumed_at or skip >= 0:
                        continue
                self._remember(instant, line)
                yield line

    def _remember(self, instant: Instant | None, line: LogLine) -> None:
        if instant is None:
            return
        self.at_last = self.at_last + 1 if instant == self.last else 1
        self.last, self.since = instant, line.time


def parse_line(raw: bytes) -> tuple[Instant | None, LogLine]:
    """Part a line from the timestamp before it, if that is legible."""
    found = _STAMP.match(raw)
    try:
        stamp = found[1].decode("ascii") if found else ""
        time = datetime.fromisoformat(stamp).astimezone(UTC)
        seconds = int(time.timestamp())
    except (ValueError, OverflowError):
        return None, LogLine(raw, None)
    fraction = _FRACTION.search(stamp)
    nanoseconds = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
    return (seconds, nanoseconds), LogLine(raw[len(stamp) + 1 :], time)
