"""Files within a captured container: how they are named, and how they are listed."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from forensics_core.cli.opening import opened
from forensics_core.cli.render import clean, say, say_json_list
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
    location: str, owner: str | None, place: Place, recursive: bool, upper: bool, output: str
) -> None:
    """Print what lies at a place: a directory's content, or the one file."""
    from forensics_core.bundle.files import open_index

    async with opened(location, owner) as bundle:
        index = await open_index(bundle, place.container, upper=upper)
        async with aclosing(_rows(index, place, recursive)) as rows:
            if output == "json":
                head = {"container": place.container, "complete": index.whole}
                await say_json_list(head, "files", _documents(rows))
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
    if top and top.kind != "directory":
        yield top
        return
    found = bool(top)
    async with aclosing(index.entries(place.path)) as inside:
        async for row in inside:
            found = True
            yield row
    if not found:
        raise _missing(index, place)


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
    """Return what to say of a mount point, so that its placeholder is not taken for the file, and
    of a file that is not from the container's own file system."""
    notes = [row.hidden] if row.hidden else []
    if row.original:
        notes.append(f"deleted, was {row.original}")
    elif row.layer not in {"", "rootfs"}:
        notes.append(f"from {row.layer}")
    return "".join(f"  [{clean(note)}]" for note in notes)


def when(seconds: str) -> str:
    """Return a time of the index for people, in UTC; as it is if no calendar has it."""
    try:
        return f"{_EPOCH + timedelta(seconds=int(float(seconds) // 1)):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return clean(seconds)


async def _documents(rows: AsyncGenerator[Row, None]) -> AsyncGenerator[list[object], None]:
    async for row in rows:
        more = {"notCaptured": row.hidden} if row.hidden else {}
        more["layer"] = row.layer
        if row.layer == "deleted":  # the index has its name in the archive
            more["path"] = row.path.decode(errors="backslashreplace")
        yield [{**row.document, **more}]
