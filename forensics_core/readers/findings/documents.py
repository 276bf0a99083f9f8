"""The documents that rules look into, a row at a time.

The collector writes each row of a long list on a line of its own. A document that is not written so
is not ours, and is refused: to read it would take as much memory as whoever made it wants.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from anyio import to_thread

from forensics_core import strict_json
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import VerificationError
from forensics_core.readers.artifacts import lines, read_artifact

Row = dict[str, Any]
MAX_ROW = 24 * 1024 * 1024
"""Bytes of a row: a process with a command and an environment of 8 MiB each."""


async def rows(bundle: BundleReader, name: str) -> AsyncGenerator[list[Row], None]:
    """Yield the rows of a list in `name`, in batches; nothing where the bundle has none so called.

    Raises `VerificationError` for what is not genuine, or not written as the collector does.
    """
    if name not in bundle.objects:
        return
    first = True
    async with (
        aclosing(read_artifact(bundle, name)) as blocks,
        aclosing(lines(blocks, MAX_ROW)) as batches,
    ):
        async for batch in batches:
            found = batch[1:] if first and batch else batch
            first = first and not batch
            yield await to_thread.run_sync(_parsed, found, name)


def _parsed(batch: list[bytes], name: str) -> list[Row]:
    try:
        found = [
            strict_json.loads_row(line.removesuffix(b","))
            for line in batch
            if line not in {b"]}", b""}
        ]
    except ValueError as error:
        raise VerificationError(
            f"{name} is not written as a collector does: {error}", hint="Run 'forensics verify'"
        ) from error
    return [row for row in found if isinstance(row, dict)]


def text(value: Any) -> str:
    """Return a value that may hold any bytes for people; empty where it is none."""
    if isinstance(value, dict):
        value = value.get("text")
    return value if isinstance(value, str) else ""


def number(value: Any) -> int:
    """Return a number, 0 where it is none."""
    return value if isinstance(value, int) else 0


def words(value: Any) -> list[str]:
    """Return the strings of a list, those that may hold any bytes too."""
    return [text(each) for each in value] if isinstance(value, list) else []
