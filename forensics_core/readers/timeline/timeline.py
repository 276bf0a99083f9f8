"""A bundle's timeline: which entries there are, filtered, in the order of their times::

async with open_bundle("cases/42") as bundle:
    async for entry in timeline(bundle, Filter(containers=("web",))):
        print(to_stamp(entry.time), entry.message)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.notes import Notes
from forensics_core.readers.timeline import files
from forensics_core.readers.timeline.documents import (
    capture_entries,
    container_entries,
    event_entries,
    process_entries,
)
from forensics_core.readers.timeline.entry import SECOND, EntrySource, TimelineEntry
from forensics_core.readers.timeline.files import FileTimes
from forensics_core.readers.timeline.logs import log_artifacts, log_entries
from forensics_core.readers.timeline.ordering import in_order
from forensics_core.readers.timeline.recording import recorded_entries
from forensics_core.readers.timeline.seen import connection_entries, exec_entries

_Entries = AsyncGenerator[list[TimelineEntry], None]

WINDOW = 300 * SECOND
"""How far from a time of the file that `around` names an entry may lie."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are wanted."""

    containers: tuple[str, ...] = ()
    """Names; all where empty. What concerns the whole pod is always there."""
    since: int | None = None
    """Nanoseconds; entries from then on."""
    until: int | None = None
    """Nanoseconds; entries before then."""
    changes_only: bool = False
    """Of files only those that differ from the image."""
    around: str = ""
    """A path: only what happened within `window` of one of its times."""
    window: int = WINDOW
    ahead: int = 0
    """Nanoseconds by which times that the node's clock gave are moved back, so that they are by the
    same clock as those of the cluster: see `clocks.correction`."""


async def timeline(
    bundle: BundleReader, wanted: Filter | None = None, notes: Notes | None = None
) -> AsyncIterator[list[TimelineEntry]]:
    """Yield the entries by time, in batches.

    A source that is missing or not genuine is noted, and left out.
    Raises `UsageError` for a container that is not in the bundle, `ForensicsError` where `around`
    names a file that has no time.
    """
    wanted, notes = wanted or Filter(), notes or Notes()
    moments = await _moments(bundle, wanted) if wanted.around else None
    async with aclosing(_all(bundle, wanted, notes)) as found:
        async for batch in in_order(_within(found, wanted, moments)):
            yield batch


async def bodyfile(
    bundle: BundleReader, wanted: Filter, notes: Notes
) -> AsyncGenerator[tuple[str, FileTimes | TimelineEntry], None]:
    """Yield files with all their times, and entries of what is no file, each with its container.

    They are in no order: who reads a bodyfile sorts it.
    """
    for name in containers_of(bundle, wanted):
        try:
            rows = files.file_times(
                bundle, name, changes_only=wanted.changes_only, ahead=wanted.ahead
            )
            async with aclosing(rows) as found:
                async for batch in found:
                    for file in batch:
                        yield name, file
        except ForensicsError as error:
            notes.add(error)
    async with aclosing(_all(bundle, wanted, notes, of_files=False)) as batches:
        async for entries in batches:
            for entry in entries:
                yield entry.container, entry


def containers_of(bundle: BundleReader, wanted: Filter) -> list[str]:
    """Return the containers to look at. Raises `UsageError` for one that is not there."""
    named = dict.fromkeys(wanted.containers)
    return [bundle.check_container(name) for name in named] or bundle.containers


async def _all(
    bundle: BundleReader, wanted: Filter, notes: Notes, *, of_files: bool = True
) -> _Entries:
    yield [_moved(entry, wanted.ahead) for entry in capture_entries(bundle)]
    for source in _sources(bundle, wanted, of_files):
        try:
            async with aclosing(source) as batches:
                async for batch in batches:
                    yield (
                        [_moved(entry, wanted.ahead) for entry in batch] if wanted.ahead else batch
                    )
        except ForensicsError as error:
            notes.add(error)


def _moved(entry: TimelineEntry, ahead: int) -> TimelineEntry:
    """Return it by the store's clock; files know by themselves which of their times are so."""
    if entry.source in {EntrySource.EVENT, EntrySource.FILE}:
        return entry
    return entry._replace(time=entry.time - ahead)


def _sources(bundle: BundleReader, wanted: Filter, of_files: bool) -> list[_Entries]:
    found = [_events(bundle)]
    for name in containers_of(bundle, wanted):
        found += [_container(bundle, name), process_entries(bundle, name)]
        found += [_sessions(bundle, name), connection_entries(bundle, name)]
        found.append(recorded_entries(bundle, name))
        found += [_files(bundle, name, wanted)] if of_files else []
        found += [log_entries(bundle, artifact) for artifact in log_artifacts(bundle, name)]
    return found


async def _events(bundle: BundleReader) -> _Entries:
    yield await event_entries(bundle)


async def _container(bundle: BundleReader, name: str) -> _Entries:
    yield await container_entries(bundle, name)


async def _sessions(bundle: BundleReader, name: str) -> _Entries:
    yield await exec_entries(bundle, name)


async def _files(bundle: BundleReader, name: str, wanted: Filter) -> _Entries:
    only, ahead = wanted.changes_only, wanted.ahead
    rows = files.file_times(bundle, name, changes_only=only, ahead=ahead)
    async with aclosing(rows) as found:
        async for batch in found:
            yield [entry for file in batch for entry in files.entries(file, name)]


async def _within(
    batches: AsyncIterator[list[TimelineEntry]], wanted: Filter, moments: list[int] | None
) -> AsyncIterator[list[TimelineEntry]]:
    async for batch in batches:
        yield [entry for entry in batch if _is_wanted(entry.time, wanted, moments)]


def _is_wanted(time: int, wanted: Filter, moments: list[int] | None) -> bool:
    if wanted.since is not None and time < wanted.since:
        return False
    if wanted.until is not None and time >= wanted.until:
        return False
    return moments is None or any(abs(time - one) <= wanted.window for one in moments)


async def _moments(bundle: BundleReader, wanted: Filter) -> list[int]:
    """Return the times of the file that `around` names, in every container that has it."""
    found: set[int] = set()
    for name in containers_of(bundle, wanted):
        async with aclosing(files.file_times(bundle, name, ahead=wanted.ahead)) as rows:
            async for batch in rows:
                for file in batch:
                    if file.path == wanted.around:
                        found.update(file.times.values())
    if not found:
        raise ForensicsError(
            f"No file {wanted.around!r} with a time is in the bundle",
            hint="Links are not followed: look for it with 'forensics ls LOCATION CONTAINER:PATH'",
        )
    return sorted(found)
