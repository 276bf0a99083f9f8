"""Entries in the order of their times, however many: sorted in parts, parts merged from disk.

Readers may use scratch disk, the capture never does. A part is a temporary file without a name, so
that nothing is left behind by a crash.
"""

from __future__ import annotations

import heapq
import marshal
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import islice
from operator import itemgetter
from typing import IO

from anyio import to_thread

from forensics_core.readers.timeline.entry import EntrySource, TimelineEntry

PART = 50_000
"""Entries that are held in memory at once."""
_BATCH = 1_000
_TIME = itemgetter(0)
_SIZE = 8
"""Bytes that say how long what follows is."""
_SOURCES = {str(source): source for source in EntrySource}


async def in_order(
    batches: AsyncIterable[list[TimelineEntry]], part: int = PART
) -> AsyncIterator[list[TimelineEntry]]:
    """Yield the entries by time; those of one time as they came: a log's lines stay in order."""
    with ExitStack() as stack:
        parts: list[Iterator[TimelineEntry]] = []
        held: list[TimelineEntry] = []
        async for batch in batches:
            held += batch
            if len(held) >= part:
                parts.append(await to_thread.run_sync(_spill, held, stack))
                held = []
        merged = heapq.merge(*parts, iter(sorted(held, key=_TIME)), key=_TIME)
        while batch := await to_thread.run_sync(_take, merged):
            yield batch


def _take(merged: Iterator[TimelineEntry]) -> list[TimelineEntry]:
    return list(islice(merged, _BATCH))


def _spill(entries: list[TimelineEntry], stack: ExitStack) -> Iterator[TimelineEntry]:
    """Sort the entries into a file; return how to read them back."""
    # Closed with the stack: what is in it is read until then.
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    entries.sort(key=_TIME)
    for start in range(0, len(entries), _BATCH):
        # Only this process reads it back: the fastest there is for plain tuples will do.
        plain = [(entry[0], str(entry[1]), *entry[2:]) for entry in entries[start : start + _BATCH]]
        data = marshal.dumps(plain)
        # Read back as a whole: `marshal.load` asks a file for a few bytes at a time.
        file.write(len(data).to_bytes(_SIZE))
        file.write(data)
    file.seek(0)
    return _read(file, len(entries))


def _read(file: IO[bytes], count: int) -> Iterator[TimelineEntry]:
    while count:
        size = int.from_bytes(file.read(_SIZE))
        batch = marshal.loads(file.read(size))  # noqa: S302 - a file without a name, written above
        count -= len(batch)
        for time, source, *rest in batch:
            yield TimelineEntry(time, _SOURCES[source], *rest)
