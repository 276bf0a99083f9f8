"""The times in small documents: processes, the cluster's events, containers, the capture itself.

They come from the node or the cluster, which may lie about any type: what is not as it should be is
passed over, and counted by who asks.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from forensics_core.bundle.layout import container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.readers.documents import load
from forensics_core.readers.findings.documents import rows, text
from forensics_core.readers.timeline.entry import (
    EntrySource,
    TimelineEntry,
    from_datetime,
    from_stamp,
)

_ZERO = "0001-01-01T00:00:00"
"""What Go writes for a time that is not set."""


def capture_entries(bundle: BundleReader) -> Iterator[TimelineEntry]:
    """Yield when the capture and each of its artifacts began and ended."""
    capture = bundle.statement.predicate
    for moment, word in ((capture.started_at, "began"), (capture.finished_at, "ended")):
        yield _capture(from_datetime(moment), word, "", f"The capture {word}")
    for artifact in capture.artifacts:
        for moment, word in ((artifact.started_at, "began"), (artifact.finished_at, "ended")):
            message = f"The capture of {artifact.name} {word}"
            yield _capture(from_datetime(moment), word, artifact.container or "", message)


def _capture(time: int, word: str, container: str, message: str) -> TimelineEntry:
    what = {"began": "Capture Start Time", "ended": "Capture End Time"}[word]
    return TimelineEntry(time, EntrySource.CAPTURE, container, message, what)


async def process_entries(
    bundle: BundleReader, container: str
) -> AsyncGenerator[list[TimelineEntry], None]:
    """Yield when each process began that was there to be captured."""
    async with aclosing(rows(bundle, container_file(container, "processes.json"))) as batches:
        async for batch in batches:
            yield [
                TimelineEntry(
                    time, EntrySource.PROCESS, container, _process(row), "Process Start Time"
                )
                for row in batch
                if (time := _stamp(row.get("startTime"))) is not None
            ]


def _process(row: dict[str, Any]) -> str:
    words = row.get("cmdline")
    command = " ".join(text(word) for word in words) if isinstance(words, list) else ""
    shown = command or f"[{text(row.get('comm'))}]"
    return f"process {row.get('pid')} (parent {row.get('ppid')}{_session(row)}): {shown[:2000]}"


def _session(row: dict[str, Any]) -> str:
    """Return what sets a process apart that was started in the container from outside."""
    if row.get("entered") is not True:
        return ""
    terminal = text(row.get("terminal") or "")[:50]
    return ", from outside" + (f" on {terminal}" if terminal else "")


async def event_entries(bundle: BundleReader) -> list[TimelineEntry]:
    """Return the events that the cluster had of the pod."""
    return [
        TimelineEntry(time, EntrySource.EVENT, "", _event(event), what)
        for event in _objects(await load(bundle, "context/events.json"), "items")
        for time, what in _event_times(event)
    ]


def _event_times(event: dict[str, Any]) -> Iterator[tuple[int, str]]:
    series = event.get("series")
    last = series.get("lastObservedTime") if isinstance(series, dict) else None
    first = event.get("firstTimestamp") or event.get("eventTime")
    seen = dict.fromkeys(_stamp(value) for value in (first, event.get("lastTimestamp"), last))
    for number, time in enumerate(time for time in seen if time is not None):
        yield time, "Last Seen Time" if number else "First Seen Time"


def _event(event: dict[str, Any]) -> str:
    times = event.get("count")
    repeated = f" ({times} times)" if isinstance(times, int) and times > 1 else ""
    return f"{text(event.get('reason'))}: {text(event.get('message'))}{repeated}"


async def container_entries(bundle: BundleReader, container: str) -> list[TimelineEntry]:
    """Return when the runtime made, started and ended the container."""
    document = await load(bundle, container_file(container, "inspect.json"))
    return [
        TimelineEntry(
            time, EntrySource.CONTAINER, container, f"The container {container} {word}", what
        )
        for value, what, word in _moments(document if isinstance(document, dict) else {})
        if (time := _runtime_time(value)) is not None
    ]


def _moments(document: dict[str, Any]) -> Iterator[tuple[Any, str, str]]:
    """Yield the times of Docker's document, and of a CRI's."""
    state, status = document.get("State"), document.get("status")
    state = state if isinstance(state, dict) else {}
    status = status if isinstance(status, dict) else {}
    yield document.get("Created") or status.get("createdAt"), "Creation Time", "was created"
    yield state.get("StartedAt") or status.get("startedAt"), "Start Time", "started"
    ended = state.get("FinishedAt") or status.get("finishedAt")
    code = state.get("ExitCode", status.get("exitCode"))
    yield ended, "End Time", f"ended with exit code {code}"


def _runtime_time(value: Any) -> int | None:
    """Return a time as Docker writes it, or nanoseconds as the CRI has them."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:20]) or None
    return _stamp(value)


def _stamp(value: Any) -> int | None:
    if not isinstance(value, str) or value.startswith(_ZERO):
        return None
    return from_stamp(value)


def _objects(document: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects of a list, or of the list `name` in an object."""
    rows = document.get(name) if isinstance(document, dict) else document
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
