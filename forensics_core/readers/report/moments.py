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
from forensics_core.readers.timeline.documents import container_entries, event_entries
from forensics_core.readers.timeline.entry import Entry, Source, from_datetime
from forensics_core.readers.timeline.logs import log_artifacts, log_entries

MOST_LINES = 2_000
"""Lines of one log that a report has: the last ones."""
MOST_LOGS = 50
"""Logs that are read, the newest first as the manifest has them."""
MOST_EVENTS = 2_000
MAX_LOG = 256 * 1024 * 1024
"""Bytes of a log that is read: a page about a small part of more is not worth so much traffic."""
_LINE = 600
"""Characters of a line that are kept."""

Missed = Callable[[ForensicsError], None]


@dataclass(slots=True)
class Moments:
    """What happened, and how much more of it there is in the bundle."""

    entries: list[Entry] = field(default_factory=list)
    lines: list[Entry] = field(default_factory=list)
    """The last lines of each log."""
    lines_total: int = 0
    not_read: list[str] = field(default_factory=list)
    """Logs that are too many or too long for a page."""


async def read_moments(bundle: BundleReader, missed: Missed) -> Moments:
    """Return what happened. What cannot be read is passed to `missed`."""
    moments = Moments()
    capture = bundle.statement.predicate
    for time, word in ((capture.started_at, "began"), (capture.finished_at, "ended")):
        message = f"The capture {word}"
        moments.entries.append(Entry(from_datetime(time), Source.CAPTURE, "", message, ""))
    try:
        moments.entries += [_shown(each) for each in (await event_entries(bundle))[:MOST_EVENTS]]
    except ForensicsError as error:
        missed(error)
    for container in bundle.containers:
        await _of_container(bundle, container, moments, missed)
    return moments


async def _of_container(
    bundle: BundleReader, container: str, moments: Moments, missed: Missed
) -> None:
    try:
        moments.entries += [_shown(each) for each in await container_entries(bundle, container)]
    except ForensicsError as error:
        missed(error)
    artifacts = log_artifacts(bundle, container)
    moments.not_read += [each.name for each in artifacts[MOST_LOGS:]]
    for artifact in artifacts[:MOST_LOGS]:
        if artifact.original_size > MAX_LOG:
            moments.not_read.append(artifact.name)
            continue
        try:
            await _last_lines(bundle, artifact, moments)
        except ForensicsError as error:
            missed(error)


async def _last_lines(bundle: BundleReader, artifact: Artifact, moments: Moments) -> None:
    last: deque[Entry] = deque(maxlen=MOST_LINES)
    try:
        async with aclosing(log_entries(bundle, artifact)) as batches:
            async for batch in batches:
                moments.lines_total += len(batch)
                last.extend(batch)
    finally:
        # Those of a log that turns out not to be genuine are shown: the report says so of it.
        moments.lines += [_shown(each) for each in last]


def _shown(entry: Entry) -> Entry:
    """Return an entry with a message that is fit to be shown, and no longer than a page takes."""
    return entry._replace(message=printable(entry.message, _LINE))
