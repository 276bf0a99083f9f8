"""Files within a captured container: how they are named, and how they are listed."""

from __future__ import annotations

import json
import os
import posixpath
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from forensics_core.cli.opening import opened
from forensics_core.cli.render import clean, say
from forensics_core.errors import ForensicsError, UsageError

if TYPE_CHECKING:
    from forensics_core.bundle.files import FileIndex
    from forensics_core.tarindex.row import Row

_LETTERS = {
    "file": stat.S_IFREG,
    "hardlink": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Place(NamedTuple):
    """A path in a container."""

    container: str
    path: bytes
    """Absolute, without `.` and `..`."""


def split_place(text: str) -> Place:
    """Return what `CONTAINER:PATH` names. Raises `UsageError`."""
    container, colon, path = text.partition(":")
    if not container or not colon:
        raise UsageError(f"'{text}' names no file", hint="Name it as CONTAINER:PATH")
    return Place(container, os.fsencode(posixpath.normpath("/" + path.lstrip("/"))))


async def list_files(
    location: str, owner: str | None, place: Place, recursive: bool, output: str
) -> None:
    """Print what lies at a place: a directory's content, or the one file."""
    from forensics_core.bundle.files import open_index

    async with opened(location, owner) as bundle:
        index = await open_index(bundle, place.container)
        async with aclosing(_rows(index, place, recursive)) as rows:
            if output == "json":
                await _print_json(place.container, index, rows)
            else:
                await _print(rows, index, recursive)


async def _rows(index: FileIndex, place: Place, recursive: bool) -> AsyncGenerator[Row, None]:
    if recursive:
        found = False
        async with aclosing(index.rows(place.path)) as rows:
            async for row in rows:
                found = True
                yield row
        if found and not index.hidden(place.path, None):
            return
        raise _missing(index, place)
    top = await index.find(place.path)
    if top and top.hidden and top.kind == "directory":
        raise _missing(index, place)
    inside = await index.list(place.path) if not top or top.kind == "directory" else [top]
    if not inside and not top:
        raise _missing(index, place)
    for row in inside:
        yield row


def _missing(index: FileIndex, place: Place) -> ForensicsError:
    if why := index.hidden(place.path, None):
        return ForensicsError(why, hint="See what is missing: 'forensics ls LOCATION'")
    more = f", but {index.gap}" if index.gap else ""
    return ForensicsError(
        f"{os.fsdecode(place.path)!r} is not in the index of '{place.container}'{more}",
        hint="Links are not followed: list the directory above it",
    )


async def _print(rows: AsyncGenerator[Row, None], index: FileIndex, recursive: bool) -> None:
    async for row in rows:
        say(_line(row, recursive))
    if index.gap:
        say(f"Note: There may have been more files: {index.gap}")


def _line(row: Row, whole_path: bool) -> str:
    mode = stat.filemode(row.mode | _LETTERS.get(row.kind, 0))
    name = row.path if whole_path else row.path[row.path.rfind(b"/") + 1 :] or row.path
    arrow = {"symlink": " -> ", "hardlink": " link to "}.get(row.kind, "")
    target = arrow and arrow + clean(os.fsdecode(row.target))
    size = "link" if row.kind == "hardlink" else row.size
    return (
        f"{mode} {row.uid:>5} {row.gid:>5} {size:>12} {when(row.mtime)} "
        f"{clean(os.fsdecode(name))}{target}{_note(row)}"
    )


def _note(row: Row) -> str:
    """Return what to say of a mount point, so that its placeholder is not taken for the file."""
    return f"  [{clean(row.hidden)}]" if row.hidden else ""


def when(seconds: str) -> str:
    """Return a time of the index for people, in UTC; as it is if no calendar has it."""
    try:
        return f"{_EPOCH + timedelta(seconds=int(float(seconds) // 1)):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return clean(seconds)


async def _print_json(container: str, index: FileIndex, rows: AsyncGenerator[Row, None]) -> None:
    """Print one document, a row a line, without holding all of them."""
    head = {"container": container, "complete": index.whole}
    before = json.dumps(head)[:-1] + ', "files": [\n'
    async for row in rows:
        more = {"notCaptured": row.hidden} if row.hidden else {}
        sys.stdout.write(before + json.dumps({**row.document, **more}))
        before = ",\n"
    sys.stdout.write(("" if before == ",\n" else before) + "\n]}\n")
