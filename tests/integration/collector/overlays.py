"""Real overlays, mounted in a folder by the tests, without any runtime."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from collector.files.changes import ChangeSet
from collector.files.overlay import OverlayDirectories
from collector.files.view import RuntimeStorage, open_layers
from collector.node.host import Host


@contextmanager
def overlay(folder: Path, options: str = "") -> Iterator[Path]:
    """Mount an overlay of `folder`'s `lower` and `upper`; what is done there is the container's."""
    for name in ("lower", "upper", "work", "merged"):
        (folder / name).mkdir(exist_ok=True)
    said = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work{options}"
    merged = folder / "merged"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", said, str(merged)], check=True)
    try:
        yield merged
    finally:
        subprocess.run(["umount", str(merged)], check=True)


def layers_of(folder: Path) -> OverlayDirectories:
    return OverlayDirectories(bytes(folder / "upper"), (bytes(folder / "lower"),))


def changes_of(layers: OverlayDirectories) -> dict[str, dict[str, Any]]:
    """Return the rows of the change set, by path."""

    async def read() -> list[dict[str, Any]]:
        async with open_layers(RuntimeStorage(layers=layers), Host()) as opened:
            return await to_thread.run_sync(
                lambda: [row for row in ChangeSet(opened).rows() if row]
            )

    rows = anyio.run(read)
    assert len({row["path"] for row in rows}) == len(rows), "a path has two rows"
    return {row["path"]: row for row in rows}
