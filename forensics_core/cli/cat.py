"""`forensics cat`: one file out of a captured container, without fetching all of it."""

from __future__ import annotations

import sys
from contextlib import aclosing
from functools import partial

import click

from forensics_core.cli.files import Place, split_place
from forensics_core.cli.opening import opened
from forensics_core.cli.options import owner_option, upper_option
from forensics_core.cli.running import run


@click.command("cat", short_help="Print one file of a container.")
@click.argument("location")
@click.argument("file", metavar="CONTAINER:PATH")
@upper_option
@owner_option
def cat_command(location: str, file: str, upper: bool, expected_bucket_owner: str | None) -> None:
    """Print the content of one file of a container in the bundle at LOCATION, as web:/etc/passwd.

    Only the parts of the archive that hold it are read. It is compared with its SHA-256 on the
    way: if that differs, the exit code is 3, and what was printed is not to be relied on. Hard
    links lead to their content; symbolic links are not followed.
    """
    run(partial(_print, location, expected_bucket_owner, split_place(file), upper))


async def _print(location: str, owner: str | None, place: Place, upper: bool) -> None:
    from anyio import to_thread

    from forensics_core.bundle.content import find_file, read_file
    from forensics_core.bundle.files import open_index

    async with opened(location, owner) as bundle:
        index = await open_index(bundle, place.container, upper=upper)
        row = await find_file(index, place.path)
        async with aclosing(read_file(bundle, index, row)) as blocks:
            async for block in blocks:
                await to_thread.run_sync(sys.stdout.buffer.write, block)
        await to_thread.run_sync(sys.stdout.buffer.flush)
