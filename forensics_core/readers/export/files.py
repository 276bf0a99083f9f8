"""New files and folders: there whole, or not at all, and for their owner alone.

Evidence is full of secrets. A umask can only take away more than that, and is not asked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from anyio import CancelScope, to_thread

from forensics_core.errors import ObjectExists

_FILE, _FOLDER = 0o600, 0o700


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


@asynccontextmanager
async def new_folder(path: Path) -> AsyncIterator[None]:
    """Make a folder for the block, or take an empty one; nothing is left in it if the block fails.

    Raises `ObjectExists` where it is not empty, or no folder.
    """
    with CancelScope(shield=True):
        made = await to_thread.run_sync(_take_folder, path)
    kept = False
    try:
        yield
        kept = True
    finally:
        if not kept:
            with CancelScope(shield=True):
                await to_thread.run_sync(_clear, path, made)


def _take_folder(path: Path) -> bool:
    """Return whether the folder had to be made."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ObjectExists(f"{path} is no folder", hint="Name one that does not exist yet")
    if path.exists():
        if any(path.iterdir()):
            raise ObjectExists(
                f"{path} is not empty", hint="Name a folder that does not exist yet, or empty it"
            )
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    make_folder(path)
    return True


def make_folder(path: Path) -> None:
    """Make a folder that its owner alone can look into."""
    path.mkdir(_FOLDER)
    path.chmod(_FOLDER)


def _clear(path: Path, made: bool) -> None:
    for each in path.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    if made:
        path.rmdir()


def write_small(path: Path, data: bytes) -> None:
    """Write a small file that must not exist yet. Blocks."""
    with _create(path) as file:
        file.write(data)


def _create(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(path, flags, _FILE)
    os.fchmod(descriptor, _FILE)
    return os.fdopen(descriptor, "wb")
