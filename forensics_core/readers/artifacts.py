"""An artifact read as a stream, decompressed and verified on the way::

    async with aclosing(read_artifact(bundle, "containers/web/logs/0.log")) as blocks:
        async for block in blocks: ...

The digest is known at the end only: who read to the end without an error may rely on all of it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from anyio import to_thread

from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import VerificationError
from forensics_core.tarindex.archive import open_archive

MAX_LINE = 64 * 1024
"""Bytes of a line that are kept; the rest of a longer one is passed over."""
_PIECE = 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS


async def read_artifact(bundle: BundleReader, name: str) -> AsyncGenerator[bytes, None]:
    """Yield the artifact's bytes as they were before compression.

    Raises `VerificationError` at the end where they are not what the manifest promises.
    """
    expected = bundle.objects[name]
    if not expected.compressed:
        async with aclosing(read_stored(bundle, name)) as stored:
            async for block in stored:
                yield block
        return
    digest = hashlib.sha256()
    async with aclosing(await _plain(bundle, name)) as blocks:
        async for block in blocks:
            await to_thread.run_sync(digest.update, block)
            yield block
    if digest.hexdigest() != expected.original_sha256:
        raise _not_genuine(name)


async def read_stored(bundle: BundleReader, name: str) -> AsyncGenerator[bytes, None]:
    """Yield the artifact's bytes as they are stored. Raises `VerificationError` at the end."""
    expected = bundle.objects[name]
    digest, size = hashlib.sha256(), 0
    async with aclosing(bundle.read(name)) as blocks:
        async for block in blocks:
            await to_thread.run_sync(digest.update, block)
            size += len(block)
            if size > expected.most:
                break
            yield block
    if digest.hexdigest() != expected.sha256:
        raise _not_genuine(name)


def _not_genuine(name: str) -> VerificationError:
    return VerificationError(f"{name} is not what the manifest says", hint="Run 'forensics verify'")


async def _plain(bundle: BundleReader, name: str) -> AsyncGenerator[bytes, None]:
    """Read frame by frame where there are any: each is bounded, whatever it claims to unpack to."""
    archive = await open_archive(bundle, bundle.objects[name])
    return archive.read(0, archive.size)


async def gunzipped(blocks: AsyncIterator[bytes], name: str) -> AsyncGenerator[bytes, None]:
    """Yield the content of a gzip file in pieces of at most 1 MiB. Raises `VerificationError`.

    A rotated log is gzipped by the runtime: what it unpacks to was never hashed by anybody.
    """
    inflate = zlib.decompressobj(_GZIP)
    try:
        async for block in blocks:
            rest = block
            while rest:
                yield await to_thread.run_sync(inflate.decompress, rest, _PIECE)
                rest = inflate.unconsumed_tail
                if inflate.eof:
                    rest, inflate = inflate.unused_data, zlib.decompressobj(_GZIP)
    except zlib.error as error:
        raise VerificationError(f"{name} is not a gzip file: {error}") from error


async def lines(
    blocks: AsyncIterator[bytes], most: int = MAX_LINE
) -> AsyncGenerator[list[bytes], None]:
    """Yield lines without their ends, in batches; of one over `most` bytes the beginning."""
    rest, skipping = b"", False
    async for block in blocks:
        # In pieces: a list of nothing but ends takes eight times as much memory as they do.
        for start in range(0, len(block), _PIECE):
            *whole, rest = (rest + block[start : start + _PIECE]).split(b"\n")
            if whole and skipping:
                del whole[0]
                skipping = False
            if len(rest) > most:
                whole += [] if skipping else [rest]
                rest, skipping = b"", True
            yield [line[:most] for line in whole]
    if rest:
        yield [] if skipping else [rest]
