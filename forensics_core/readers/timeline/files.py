"""The times of files: what the index of an archive says, and whether the image had the file so."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Container, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from typing import Any

from forensics_core.bundle.files import open_index
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.readers.changes import MAX_CHANGES, change_batches
from forensics_core.readers.timeline.entry import EntrySource, TimelineEntry, from_decimal
from forensics_core.tarindex.row import Row

TIMES = (
    ("m", "mtime", "Content Modification Time"),
    ("a", "atime", "Last Access Time"),
    ("c", "ctime", "Metadata Modification Time"),
    ("b", "btime", "Creation Time"),
)
"""Letter, field of the index, and name of each time of a file; the names are plaso's."""
_BROUGHT = "ma"
"""Times that a file of the image brings from where the image was made."""
_KINDS = {"A": "added", "C": "changed", "D": "deleted"}

_NEVER_OF_THE_IMAGE = frozenset({"mounts", "upper", "deleted"})
"""Layers of the tree whose files no image has."""


@dataclass(frozen=True, slots=True)
class FileTimes:
    """One file and its times, in nanoseconds; those that nobody knows are missing."""

    row: Row
    change: str
    """`A` or `C` if it differs from the image, empty if not, or if nobody knows."""
    times: dict[str, int]
    """By letter: see `TIMES`."""

    @property
    def path(self) -> str:
        """Its path; bytes that are no UTF-8 are surrogates, as in `os.fsdecode`."""
        return os.fsdecode(self.row.path)

    def number(self, name: str) -> int:
        """Return a number of the index's row; 0 where it has none."""
        value = self.row.document.get(name, 0)
        return value if isinstance(value, int) else 0


async def file_times(
    bundle: BundleReader, container: str, *, changes_only: bool = False, ahead: int = 0
) -> AsyncGenerator[list[FileTimes], None]:
    """Yield the container's files with their times, in batches, in the archive's order.

    By `ahead` nanoseconds times are moved back that the node's clock gave: when it made a file, or
    its entry, and of those that the image does not have so when they were changed or read.

    Raises `VerificationError` where what is read is not genuine, after all that is.
    """
    index = await open_index(bundle, container)
    changed: dict[bytes, str] = {}
    known, forged = await _read_changes(bundle, container, changed, required=changes_only)
    async with aclosing(index.batches()) as batches:
        async for rows in batches:
            yield [
                FileTimes(
                    row,
                    changed.get(row.path, ""),
                    dict(_times(row, ahead, as_in_image=known and _of_image(row, changed))),
                )
                for row in rows
                if not changes_only or row.path in changed or row.layer in _NEVER_OF_THE_IMAGE
            ]
    if forged:
        raise forged


async def _read_changes(
    bundle: BundleReader, container: str, changed: dict[bytes, str], *, required: bool
) -> tuple[bool, VerificationError | None]:
    """Note what differs from the image, as far as it can be read.

    Returns whether all of it is known, and what is wrong with it.
    """
    try:
        async with aclosing(change_batches(bundle, container)) as batches:
            async for batch in batches:
                kept = (each for each in batch if each.kind != "D")
                changed.update((os.fsencode(each.path), each.kind) for each in kept)
                if len(changed) > MAX_CHANGES:
                    raise VerificationError(
                        f"The changes of '{container}' are more than {MAX_CHANGES}"
                    )
    except VerificationError as error:
        return False, error
    except ForensicsError:
        if required:
            raise
        return False, None
    return True, None


def _of_image(row: Row, changed: Container[bytes]) -> bool:
    return row.path not in changed and row.layer not in _NEVER_OF_THE_IMAGE


def _times(row: Row, ahead: int, *, as_in_image: bool) -> Iterator[tuple[str, int]]:
    for letter, name, _ in TIMES:
        value: Any = row.document.get(name, "")
        time = from_decimal(value) if isinstance(value, str) else None
        if time is not None:
            by_others = as_in_image and letter in _BROUGHT
            yield letter, time if by_others else time - ahead


def entries(file: FileTimes, container: str) -> Iterator[TimelineEntry]:
    """Yield one entry for each moment at which the file has a time; equal times share one."""
    message, path, sha256 = _message(file), file.path, file.row.sha256
    alike = dict[int, str]()
    for letter, time in file.times.items():
        alike[time] = alike.get(time, "") + letter
    for moment, letters in alike.items():
        marks, what = _described(letters)
        yield TimelineEntry(moment, EntrySource.FILE, container, message, what, path, marks, sha256)


@cache
def _described(letters: str) -> tuple[str, str]:
    """Return mactime's marks and the names of some of a file's times."""
    marks = "".join(letter if letter in letters else "." for letter, _, _ in TIMES)
    return marks, "; ".join(name for letter, _, name in TIMES if letter in letters)


def _message(file: FileTimes) -> str:
    row = file.row
    target = f" -> {os.fsdecode(row.target)}" if row.target else ""
    change = f" ({_KINDS[file.change]})" if file.change in _KINDS else ""
    change = f" (deleted, was {row.original})" if row.original else change
    return f"{file.path}{target} {row.kind} {row.mode:04o} {row.uid}:{row.gid} {row.size} B{change}"
