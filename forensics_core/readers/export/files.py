"""New files: there whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from anyio import CancelScope, to_thread

from forensics_core.errors import ObjectExists


async def write_new(path: Path, blocks: AsyncIterator[bytes]) -> None:
    """Write a file that must not exist yet; nothing of it is kept if `blocks` fails.

    Raises `ObjectExists`, and whatever `blocks` raises.
    """
    async with new_file(path) as file:
        async for block in blocks:
            await to_thread.run_sync(file.write, block)


@asynccontextmanager
async def new_file(path: Path) -> AsyncIterator[BinaryIO]:
    """Open a file that must not exist yet; nothing of it is kept if the block fails.

    Raises `ObjectExists`.
    """
    # Shielded, so that a file that was made in this moment is never left behind by a Ctrl-C.
    with CancelScope(shield=True):
        try:
            file = await to_thread.run_sync(_create, path)
        except FileExistsError:
            raise ObjectExists(f"{path} exists", hint="Name another, or remove it") from None
    kept = False
    try:
        yield file
        kept = True
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(file.close)
            if not kept:
                await to_thread.run_sync(path.unlink)


def _create(path: Path) -> BinaryIO:
    """Create a file that its owner alone can read: evidence is full of secrets."""
    return os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb"
    )
