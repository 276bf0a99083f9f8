"""New files: there whole, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from anyio import CancelScope, to_thread

from forensics_core.errors import ObjectExists


async def write_new(path: Path, blocks: AsyncIterator[bytes]) -> None:
    """Write a file that must not exist yet; nothing of it is kept if `blocks` fails.

    Raises `ObjectExists`, and whatever `blocks` raises.
    """
    try:
        file = await to_thread.run_sync(path.open, "xb")
    except FileExistsError:
        raise ObjectExists(f"{path} exists", hint="Name another, or remove it") from None
    kept = False
    try:
        async for block in blocks:
            await to_thread.run_sync(file.write, block)
        kept = True
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(file.close)
            if not kept:
                await to_thread.run_sync(path.unlink)
