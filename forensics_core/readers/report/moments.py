"""What happened when, beside files and processes: events, starts and ends, lines of logs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from forensics_core._internal.text import printable
from forensics_core.bundle.manifest import Artifact
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.clocks import correction
from forensics_core.readers.timeline.documents import container_entries, event_entries
from forensics_core.readers.timeline.entry import EntrySource, TimelineEntry, from_datetime
from forensics_core.readers.timeline.logs import log_artifacts, log_entries

_MAX_EVENTS = 2_000
_LINE = 600
"""Characters of a line that are kept."""

Missed = Callable[[ForensicsError], None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of the logs a report has."""

    lines: int = 2_000
    """Of one log: the last ones."""
    logs: int = 50
    """Of one container, in the order of the manifest."""
    bytes: int = 256 * 1024 * 1024
    """Of a log: a page with a small part of a longer one is not worth so much traffic."""


@dataclass(slots=True)
class TimelineExcerpt:
    """What happened, and how much more of it there is in the bundle."""

    entries: list[TimelineEntry] = field(default_factory=list)
    lines: list[TimelineEntry] = field(default_factory=list)
    """The last lines of each log."""
    lines_total: int = 0
    not_read: list[str] = field(default_factory=list)
    """Logs that are too many or too long for a page."""


async def read_moments(
    bundle: BundleReader, missed: Missed, bounds: Bounds | None = None
) -> TimelineExcerpt:
    """Return what happened. What cannot be read is passed to `missed`."""
    moments, bounds = TimelineExcerpt(), bounds or Bounds()
    capture = bundle.statement.predicate
    for time, word in ((capture.started_at, "began"), (capture.finished_at, "ended")):
        message = f"The capture {word}"
        moments.entries.append(
            TimelineEntry(from_datetime(time), EntrySource.CAPTURE, "", message, "")
        )
    try:
        # All else is by the node's clock: what happened first is seen where these are as well.
        ahead = correction(capture.clocks)
        moments.entries += [
            _shown(each._replace(time=each.time + ahead))
            for each in (await event_entries(bundle))[:_MAX_EVENTS]
        ]
    except ForensicsError as error:
        missed(error)
    for container in bundle.containers:
        await _of_container(bundle, container, moments, missed, bounds)
    return moments


async def _of_container(
    bundle: BundleReader, container: str, moments: TimelineExcerpt, missed: Missed, bounds: Bounds
) -> None:
    try:
        moments.entries += [_shown(each) for each in await container_entries(bundle, container)]
    except ForensicsError as error:
        missed(error)
    artifacts = log_artifacts(bundle, container)
    moments.not_read += [each.name for each in artifacts[bounds.logs :]]
    for artifact in artifacts[: bounds.logs]:
        if artifact.original_size > bounds.bytes:
            moments.not_read.append(artifact.name)
            continue
        try:
            await _last_lines(bundle, artifact, moments, bounds.lines)
        except ForensicsError as error:
            missed(error)


async def _last_lines(
    bundle: BundleReader, artifact: Artifact, moments: TimelineExcerpt, most: int
) -> None:
    last: deque[TimelineEntry] = deque(maxlen=most)
    try:
        async with aclosing(log_entries(bundle, artifact)) as batches:
            async for batch in batches:
                moments.lines_total += len(batch)
                last.extend(batch)
    finally:
        # Those of a log that turns out not to be genuine are shown: the report says so of it.
        moments.lines += [_shown(each) for each in last]


def _shown(entry: TimelineEntry) -> TimelineEntry:
    """Return an entry with a message that is fit to be shown, and no longer than a page takes."""
    return entry._replace(message=printable(entry.message, _LINE))
