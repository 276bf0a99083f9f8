"""Entries in the order of their times, however many: sorted in parts, parts merged from disk.

Readers may use scratch disk, the capture never does. A part is a temporary file without a name, so
that nothing is left behind by a crash.
"""

from __future__ import annotations

import heapq
import json
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import astuple
from itertools import islice
from typing import IO

from anyio import to_thread

from forensics_core.readers.timeline.entry import Entry, Source

PART = 50_000
"""Entries that are held in memory at once."""
_BATCH = 2_000
_Key = tuple[int, str, str]


async def in_order(entries: AsyncIterable[Entry], part: int = PART) -> AsyncIterator[Entry]:
    """Yield the entries by time; those of one time by source and message."""
    with ExitStack() as stack:
        parts: list[Iterator[Entry]] = []
        held: list[Entry] = []
        async for entry in entries:
            held.append(entry)
            if len(held) >= part:
                parts.append(await to_thread.run_sync(_spill, held, stack))
                held = []
        held.sort(key=_key)
        merged = heapq.merge(*parts, held, key=_key)
        while batch := await to_thread.run_sync(_take, merged):
            for entry in batch:
                yield entry


def _key(entry: Entry) -> _Key:
    return entry.time, entry.source, entry.message


def _take(merged: Iterator[Entry]) -> list[Entry]:
    return list(islice(merged, _BATCH))


def _spill(entries: list[Entry], stack: ExitStack) -> Iterator[Entry]:
    """Sort the entries into a file; return how to read them back."""
    # Closed with the stack: what is in it is read until then.
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    entries.sort(key=_key)
    for entry in entries:
        # Names of files are any bytes: json escapes the surrogates that stand for them.
        file.write(json.dumps(astuple(entry)).encode() + b"\n")
    file.seek(0)
    return _read(file)


def _read(file: IO[bytes]) -> Iterator[Entry]:
    for line in file:
        time, what, source, *rest = json.loads(line)
        yield Entry(time, what, Source(source), *rest)
