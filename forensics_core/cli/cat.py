"""`forensics cat`: one file out of a captured container, without fetching all of it."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import click
from anyio import to_thread

from forensics_core.cli.files import Place, split_place
from forensics_core.cli.opening import opened
from forensics_core.cli.options import owner_option, upper_option
from forensics_core.cli.render import size
from forensics_core.cli.running import run
from forensics_core.errors import ForensicsError

MOST_HOLES = 64 * 1024**3
"""Bytes of zeros that a pipe is given for the holes of a file."""
MANY_HOLES = 1024**3
"""Bytes of them that are worth a note."""


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
    run(partial(_print, location, expected_bucket_owner, split_place(file), upper))


async def _print(location: str, owner: str | None, place: Place, upper: bool) -> None:
    from forensics_core.bundle.content import find_file, read_file, read_pieces
    from forensics_core.bundle.files import open_index

    async with opened(location, owner) as bundle:
        index = await open_index(bundle, place.container, upper=upper)
        row = await find_file(index, place.path)
        file = _regular() if row.sparse else None
        if file is not None:
            await _fill(file, read_pieces(bundle, index, row), row.size)
            return
        _check_holes(row.size, row.size - row.stored if row.sparse else 0)
        async with aclosing(read_file(bundle, index, row)) as blocks:
            async for block in blocks:
                await to_thread.run_sync(sys.stdout.buffer.write, block)
        await to_thread.run_sync(sys.stdout.buffer.flush)


def _check_holes(whole: int, holes: int) -> None:
    """Say how much will come of a little, and refuse what nobody would wait for."""
    if holes > MOST_HOLES:
        raise ForensicsError(
            f"The file has {size(whole)}, of which {size(holes)} are holes: no pipe takes that",
            hint="Write it into a file, which then has the holes: 'forensics cat ... > FILE'",
        )
    if holes > MANY_HOLES:
        click.echo(f"Note: {size(whole)}, of which {size(holes)} are holes", err=True)


def _regular() -> int | None:
    """Return the standard output's number if it is a file that can have holes."""
    try:
        number = sys.stdout.buffer.fileno()
    except OSError:
        return None
    regular = stat.S_ISREG(os.fstat(number).st_mode)
    appends = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_APPEND
    return number if regular and not appends else None


async def _fill(file: int, pieces: AsyncGenerator[tuple[int, bytes], None], whole: int) -> None:
    """Write the data of a sparse file to where it belongs, from the file's position on."""
    begin = await to_thread.run_sync(os.lseek, file, 0, os.SEEK_CUR)
    try:
        await to_thread.run_sync(os.ftruncate, file, begin + whole)
    except (OSError, OverflowError) as error:
        raise ForensicsError(
            f"The file has {size(whole)}, and this file system has none of that size",
            hint="Take its data out of the archive: 'forensics fetch --decompress'",
        ) from error
    async with aclosing(pieces):
        async for offset, block in pieces:
            await to_thread.run_sync(_write_at, file, block, begin + offset)
    await to_thread.run_sync(os.lseek, file, begin + whole, os.SEEK_SET)


def _write_at(file: int, block: bytes, offset: int) -> None:
    view = memoryview(block)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
