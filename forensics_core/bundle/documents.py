"""A bundle's small objects, read whole and verified, as stored and as before compression::

data = await read_verified(bundle, bundle.objects["context/pod.json"], limit=LIMIT)
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import aclosing
from typing import IO

import zstandard
from anyio import to_thread

from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import VerificationError
from forensics_core.tarindex.archive import MAX_FRAME

_PIECE = 1024 * 1024
_UNPROVEN = "Do not rely on anything that was shown of it"
"""What is unpacked is known to be genuine only at its end."""


async def read_verified(bundle: BundleReader, expected: ExpectedObject, *, limit: int) -> bytes:
    """Return a small artifact's original bytes, or raise `VerificationError`."""
    stored = await read_stored(bundle, expected, limit)
    return await to_thread.run_sync(_joined, stored, expected)


async def read_stored(bundle: BundleReader, expected: ExpectedObject, limit: int) -> bytes:
    """Return the bytes as stored, verified; those of a copy, where there is one."""
    if max(expected.size or 0, expected.original_size) > limit:
        raise VerificationError(f"{expected.name} claims to have more than {limit} bytes")
    known = bundle.ends.get(expected.name, b"")
    if known and len(known) == expected.size:
        return await to_thread.run_sync(_verified, known, expected)
    data = bytearray()
    async with aclosing(bundle.read(expected.name)) as blocks:
        async for block in blocks:
            data += block
            if len(data) > limit:
                break
    return await to_thread.run_sync(_verified, bytes(data), expected)


def _verified(data: bytes, expected: ExpectedObject) -> bytes:
    if hashlib.sha256(data).hexdigest() != expected.sha256:
        raise VerificationError(
            f"{expected.name} is not what the manifest says", hint="Run 'forensics verify'"
        )
    return data


def _joined(stored: bytes, expected: ExpectedObject) -> bytes:
    return b"".join(unpacked(stored, expected)) if expected.compressed else stored


def unpacked(stored: bytes, expected: ExpectedObject) -> Iterator[bytes]:
    """Yield the original bytes in pieces, no more than promised, and verify them at the end."""
    return unpacked_file(io.BytesIO(stored), expected)


def unpacked_file(stored: IO[bytes], expected: ExpectedObject) -> Iterator[bytes]:
    """Do the same with what is stored in a file, which was verified before."""
    if not expected.compressed:
        yield from iter(lambda: stored.read(_PIECE), b"")
        return
    digest, left = hashlib.sha256(), expected.original_size
    # A hostile frame may ask for a window of gigabytes.
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME)
    stream = decompressor.stream_reader(stored, read_across_frames=True)
    try:
        while left and (piece := stream.read(min(left, _PIECE))):
            left -= len(piece)
            digest.update(piece)
            yield piece
        more = stream.read(1)
    except zstandard.ZstdError as error:
        raise VerificationError(
            f"{expected.name} cannot be decompressed: {error}", hint=_UNPROVEN
        ) from error
    if more or digest.hexdigest() != expected.original_sha256:
        raise VerificationError(
            f"{expected.name}: decompressed it is not what the manifest says", hint=_UNPROVEN
        )
