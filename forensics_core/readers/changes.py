"""`diff.json` read back: what differs between a container and its image."""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from anyio import to_thread

from forensics_core._internal import strict_json
from forensics_core._internal.flaws import Flaws
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.documents import read_stored, unpacked
from forensics_core.bundle.layout import LAYERS
from forensics_core.bundle.manifest import Artifact
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, VerificationError

CHANGES_LIMIT = 256 * 1024 * 1024
"""Bytes that a list of changes may have: a few million paths."""
MAX_CHANGES = 2_000_000
"""Changes that `changes` returns at once; `change_batches` yields any number."""
MAX_CHANGE = 4 * 1024 * 1024
"""Characters of a row: a path that is thousands of directories deep."""
_LIST = re.compile(r'"changes"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*+")
_NEXT = re.compile(r"\n(?=[{\]])")


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs from the image."""

    kind: str
    """`A` added, `C` changed, `D` deleted."""
    path: str


async def changes(bundle: BundleReader, container: str, at_most: int = MAX_CHANGES) -> list[Change]:
    """Return what `diff.json` of that container says, once its SHA-256 is found to be right.

    Raises `ForensicsError` where the bundle has none, `VerificationError` where it is not genuine.
    """
    found: list[Change] = []
    async with aclosing(change_batches(bundle, container)) as batches:
        async for batch in batches:
            found += batch
            if len(found) > at_most:
                raise VerificationError(
                    f"The changes of '{container}' are more than {at_most}",
                    hint="'forensics ls --changes' shows any number of them",
                )
    return found


async def change_batches(
    bundle: BundleReader, container: str, limit: int = CHANGES_LIMIT
) -> AsyncGenerator[list[Change], None]:
    """Yield what `changes` returns, some at a time: as stored the list is verified before the first
    of them, but what it unpacks to is so only after the last.

    A row that is none is passed over; of the stored list no more than `limit` bytes are read.
    Raises `VerificationError` after the last where there was one, and where what was yielded turns
    out not to be what the manifest promises.

    A few kilobytes can unpack to a list of millions, which must never be in memory as a whole.
    """
    artifact = find_changes(bundle, container)
    expected = bundle.objects[artifact.name]
    stored = await read_stored(bundle, expected, limit)
    batches = _parse(unpacked(stored, expected), artifact.name)
    while (batch := await to_thread.run_sync(next, batches, None)) is not None:
        yield batch


def find_changes(bundle: BundleReader, container: str) -> Artifact:
    """Return the artifact that lists the container's changes."""
    bundle.check_container(container)
    for artifact in bundle.statement.predicate.artifacts:
        found = artifact.kind is ArtifactKind.DIFF and artifact.container == container
        if found and artifact.name in bundle.objects and not artifact.name.endswith(LAYERS):
            return artifact
    raise ForensicsError(
        f"The changes of '{container}' were not captured",
        hint="'forensics ls' shows the reason under 'Not captured'",
    )


def _parse(pieces: Iterator[bytes], name: str) -> Iterator[list[Change]]:
    flaws = Flaws(name, "is not a list of changes")
    yield from _batches(pieces, flaws)
    flaws.check()


def _batches(pieces: Iterator[bytes], flaws: Flaws) -> Iterator[list[Change]]:
    """Yield the rows that are whole after each piece; all pieces are read, to verify them."""
    # What is no UTF-8 becomes an escape that JSON does not know, so that its row is none.
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    rest, begun, ended = "", False, False
    for piece in pieces:
        rest += decoder.decode(piece)
        if not begun and (start := _LIST.search(rest)):
            rest, begun = rest[start.end() :], True
        if ended or not begun:
            rest = rest[-MAX_CHANGE:]
            continue
        found, rest, ended = _rows(rest, flaws)
        yield found
        if len(rest) > MAX_CHANGE:
            flaws.add("a row is too long, or not valid")
            rest = rest[-1:]
    if not ended:
        flaws.add("it has no list, or no end")


def _rows(text: str, flaws: Flaws) -> tuple[list[Change], str, bool]:
    """Return the whole rows that `text` begins with, what follows, and whether the list ended."""
    found: list[Change] = []
    place = 0
    while True:
        place = _end(_BETWEEN, text, place)
        if text[place : place + 1] == "]":
            return found, "", True
        try:
            row, place = strict_json.ROWS.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            # The collector begins a line with each row: behind one that is none goes the next.
            following = _NEXT.search(text, place)
            if following is None:
                return found, text[place:], False
            flaws.add(str(error))
            place = following.end()
            continue
        with flaws.passing():
            found.append(_change(row))


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place


def _change(row: Any) -> Change:
    kind, path = row["kind"], row["path"]
    if not isinstance(kind, str) or not isinstance(path, str):
        raise TypeError("a path or its kind is not text")
    path.encode(errors="surrogateescape")
    return Change(kind, path)
