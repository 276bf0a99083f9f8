"""The documents that rules look into, a row at a time.

The collector writes each row of a long list on a line of its own. The first releases wrote some of
these documents as a whole, which takes several times as much memory to read: up to a size.
"""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from anyio import to_thread

from forensics_core._internal import strict_json
from forensics_core._internal.flaws import Flaws
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.artifacts import lines, read_artifact
from forensics_core.readers.documents import load

DocumentRow = dict[str, Any]
MAX_ROW = 32 * 1024 * 1024
"""Bytes of a row: a network namespace with tables of 16 MiB, and what was read from them."""
MAX_WHOLE = 32 * 1024 * 1024
"""Bytes of a document of the first releases."""
LISTS = ("changes", "processes", "namespaces", "layers")
"""What the lists of these documents are called."""
_END = b"]}"


async def rows(bundle: BundleReader, name: str) -> AsyncGenerator[list[DocumentRow], None]:
    """Yield the rows of a list in `name`, in batches; nothing where the bundle has none so called.

    A row that is none is passed over. Raises `VerificationError` after the last where there was
    one, and for what is not genuine.
    """
    if name not in bundle.objects:
        return
    flaws = Flaws(name, "is not written as a collector does")
    begun = ended = False
    async with (
        aclosing(read_artifact(bundle, name)) as blocks,
        aclosing(lines(blocks, MAX_ROW)) as batches,
    ):
        async for batch in batches:
            if batch and not begun:
                begun = batch.pop(0).endswith(b"[")
                if not begun:
                    break
            ended = ended or _END in batch
            yield await to_thread.run_sync(_parsed, batch, flaws)
    if not begun:
        yield await _whole(bundle, name, flaws)
    elif not ended:
        flaws.add("its list has no end")
    flaws.check()


async def _whole(bundle: BundleReader, name: str, flaws: Flaws) -> list[DocumentRow]:
    """Return the rows of a document that was not written line by line.

    Raises `ForensicsError` where it is too long: that alone does not make it less genuine.
    """
    if bundle.objects[name].original_size > MAX_WHOLE:
        raise ForensicsError(
            f"{name} has more than {MAX_WHOLE} bytes, and is not written line by line",
            hint="'forensics fetch' gets it for other tools",
        )
    document = await load(bundle, name)
    found = list[DocumentRow]()
    with flaws.passing():
        found += _several(document)
    return found


def _several(document: Any) -> Iterator[DocumentRow]:
    """Yield the rows of a whole document. Raises `TypeError` and the like after the last."""
    (several,) = (document[each] for each in LISTS if each in document)
    found = [row for row in several if isinstance(row, dict)]
    yield from found
    if len(found) < len(several):
        raise TypeError("a row is not an object")


def rows_in(data: bytes, flaws: Flaws) -> Iterator[DocumentRow]:
    """Yield the rows of a list in a small document that is in memory; `flaws` gets what is none.

    The same as `rows`, for who holds all of it and does not wait.
    """
    lines = io.BytesIO(data)
    if not next(lines, b"").endswith(b"[\n"):
        with flaws.passing():
            yield from _several(strict_json.loads_document(data))
        return
    ended = False
    for line in lines:
        ended = ended or line.rstrip(b"\n") == _END
        yield from _parsed([line.rstrip(b"\n")], flaws)
    if not ended:
        flaws.add("its list has no end")


def _parsed(batch: list[bytes], flaws: Flaws) -> list[DocumentRow]:
    found = list[DocumentRow]()
    for line in batch:
        if line in {_END, b""}:
            continue
        with flaws.passing():
            found.append(_row(line))
    return found


def _row(line: bytes) -> DocumentRow:
    row = strict_json.loads_row(line.removesuffix(b","))
    if not isinstance(row, dict):
        raise TypeError("a row is not an object")
    return row


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
