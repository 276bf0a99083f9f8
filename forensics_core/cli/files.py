"""Files within a captured container: how they are named and listed, and `forensics cat`."""

from __future__ import annotations

import fcntl
import os
import posixpath
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click
from anyio import to_thread

from forensics_core.cli.options import opened_bundle, owner_option, run_reader, upper_option
from forensics_core.cli.render import clean, print_json_list, print_text, size
from forensics_core.errors import ForensicsError, UsageError

if TYPE_CHECKING:
    from forensics_core.bundle.files import FileIndex
    from forensics_core.tarindex.row import Row

_TYPES = {
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
MAX_HOLES = 64 * 1024**3
"""Bytes of zeros that a pipe is given for the holes of a file."""
NOTABLE_HOLES = 1024**3
"""Bytes of them that are worth a note."""


class ContainerPath(NamedTuple):
    """A path in a container."""

    container: str
    path: bytes
    """Absolute, without `.` and `..`."""


def parse_container_path(text: str) -> ContainerPath:
    """Return what `CONTAINER:PATH` names. Raises `UsageError`."""
    container, colon, path = text.partition(":")
    if not container or not colon:
        raise UsageError(f"'{text}' names no file", hint="Name it as CONTAINER:PATH")
    # One slash in front: `normpath` keeps two of them, as POSIX lets these mean something else. And
    # bytes, as a name in a container need not be UTF-8.
    return ContainerPath(container, os.fsencode(posixpath.normpath("/" + path.lstrip("/"))))


async def list_files(
    location: str,
    owner: str | None,
    where: ContainerPath,
    recursive: bool,
    upper: bool,
    output: str,
) -> None:
    """Print what lies there: a directory's content, or the one file."""
    from forensics_core.bundle.files import open_index

    async with opened_bundle(location, owner) as bundle:
        index = await open_index(bundle, where.container, upper=upper)
        async with aclosing(_rows(index, where, recursive)) as rows:
            if output == "json":
                head = {"container": where.container, "complete": index.whole}
                await print_json_list(head, "files", _json_batches(rows))
            else:
                await _print_rows(rows, index, recursive)


async def _rows(
    index: FileIndex, where: ContainerPath, recursive: bool
) -> AsyncGenerator[Row, None]:
    if recursive:
        found = False
        async with aclosing(index.rows(where.path)) as rows:
            async for row in rows:
                found = True
                yield row
        if found and not index.hidden(where.path, None):
            return
        raise _not_found(index, where)
    top = await index.find(where.path)
    if top and top.hidden and top.kind == "directory":
        raise _not_found(index, where)
    if top and top.kind != "directory":
        yield top
        return
    found = bool(top)
    async with aclosing(index.entries(where.path)) as inside:
        async for row in inside:
            found = True
            yield row
    if not found:
        raise _not_found(index, where)


def _not_found(index: FileIndex, where: ContainerPath) -> ForensicsError:
    if why := index.hidden(where.path, None):
        return ForensicsError(why, hint="See what is missing: 'forensics ls LOCATION'")
    more = f", but {index.gap}" if index.gap else ""
    return ForensicsError(
        f"{os.fsdecode(where.path)!r} is not in the index of '{where.container}'{more}",
        hint="Links are not followed: list the directory above it",
    )


async def _print_rows(rows: AsyncGenerator[Row, None], index: FileIndex, recursive: bool) -> None:
    async for row in rows:
        print_text(_line(row, recursive))
    if index.gap:
        print_text(f"Note: There may have been more files: {index.gap}")


def _line(row: Row, whole_path: bool) -> str:
    mode = stat.filemode(row.mode | _TYPES.get(row.kind, 0))
    name = row.path if whole_path else row.path[row.path.rfind(b"/") + 1 :] or row.path
    arrow = {"symlink": " -> ", "hardlink": " link to "}.get(row.kind, "")
    target = arrow and arrow + clean(os.fsdecode(row.target))
    # A hard link has no bytes of its own in the archive: 0 would look like an empty file.
    length = "link" if row.kind == "hardlink" else row.size
    return (
        f"{mode} {row.uid:>5} {row.gid:>5} {length:>12} {human_time(row.mtime)} "
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


def human_time(seconds: str) -> str:
    """Return a time of the index for people, in UTC; as it is if no calendar has it."""
    try:
        return f"{_EPOCH + timedelta(seconds=int(float(seconds) // 1)):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return clean(seconds)


async def _json_batches(rows: AsyncGenerator[Row, None]) -> AsyncGenerator[list[object], None]:
    async for row in rows:
        more = {"notCaptured": row.hidden} if row.hidden else {}
        more["layer"] = row.layer
        if row.layer == "deleted":  # the index has its name in the archive
            more["path"] = row.path.decode(errors="backslashreplace")
        yield [{**row.document, **more}]


@click.command("cat", short_help="Print one file of a container.")
@click.argument("location")
@click.argument("file", metavar="CONTAINER:PATH")
@upper_option
@owner_option
def cat_command(location: str, file: str, upper: bool, expected_bucket_owner: str | None) -> None:
    """Print the content of one file of a container in the bundle at LOCATION, as web:/etc/passwd.

    Only the parts of the archive that hold it are read. It is compared with its SHA-256 on the
    way: if that differs, the exit code is 3, and what was printed is not to be relied on. Hard
    links lead to their content; symbolic links are not followed. Of a sparse file the holes are
    zeros in a pipe, which takes 64 GiB of them at most, and stay holes in a file.
    """
    run_reader(
        partial(_print_file, location, expected_bucket_owner, parse_container_path(file), upper)
    )


async def _print_file(location: str, owner: str | None, where: ContainerPath, upper: bool) -> None:
    from forensics_core.bundle.content import find_file, read_file, read_pieces
    from forensics_core.bundle.files import open_index

    async with opened_bundle(location, owner) as bundle:
        index = await open_index(bundle, where.container, upper=upper)
        row = await find_file(index, where.path)
        file = _seekable_stdout() if row.sparse else None
        if file is not None:
            await _write_sparse(file, read_pieces(bundle, index, row), row.size)
            return
        _check_holes(row.size, row.size - row.stored if row.sparse else 0)
        async with aclosing(read_file(bundle, index, row)) as blocks:
            async for block in blocks:
                # In a thread: a pager that stands still must not keep signals from being heard.
                await to_thread.run_sync(sys.stdout.buffer.write, block)
        await to_thread.run_sync(sys.stdout.buffer.flush)


def _check_holes(whole: int, holes: int) -> None:
    """Say how much will come of a little, and refuse what nobody would wait for."""
    if holes > MAX_HOLES:
        raise ForensicsError(
            f"The file has {size(whole)}, of which {size(holes)} are holes: no pipe takes that",
            hint="Write it into a file, which then has the holes: 'forensics cat ... > FILE'",
        )
    if holes > NOTABLE_HOLES:
        click.echo(f"Note: {size(whole)}, of which {size(holes)} are holes", err=True)


def _seekable_stdout() -> int | None:
    """Return the standard output's number if it is a file that can have holes."""
    try:
        number = sys.stdout.buffer.fileno()
    except OSError:
        return None
    regular = stat.S_ISREG(os.fstat(number).st_mode)
    # Opened with `>>`, Linux writes at the end, whatever position `pwrite` names.
    appends = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_APPEND
    return number if regular and not appends else None


async def _write_sparse(
    file: int, pieces: AsyncGenerator[tuple[int, bytes], None], whole: int
) -> None:
    """Write the data of a sparse file to where it belongs, from the file's position on."""
    # Not from 0: in `(date; forensics cat ...) > FILE` somebody was there before.
    begin = await to_thread.run_sync(os.lseek, file, 0, os.SEEK_CUR)
    try:
        # First of all: it makes the hole at the end, and says if there is no such size here.
        await to_thread.run_sync(os.ftruncate, file, begin + whole)
    except (OSError, OverflowError) as error:
        raise ForensicsError(
            f"The file has {size(whole)}, and this file system has none of that size",
            hint="Take its data out of the archive: 'forensics fetch --decompress'",
        ) from error
    async with aclosing(pieces):
        async for offset, block in pieces:
            await to_thread.run_sync(_write_at, file, block, begin + offset)
    # For whoever goes on writing to it: `pwrite` leaves the position where it was.
    await to_thread.run_sync(os.lseek, file, begin + whole, os.SEEK_SET)


def _write_at(file: int, block: bytes, offset: int) -> None:
    view = memoryview(block)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
