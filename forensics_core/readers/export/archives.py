"""The archives of a container, and how several become one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from anyio import to_thread

from forensics_core.bundle.layout import ROOTFS_ARCHIVES, container_file
from forensics_core.bundle.manifest import Artifact, Flag
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.readers.artifacts import read_artifact
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.walk import TarWalk

LAYERS = (ROOTFS_ARCHIVES, ("mounts.tar.zst", "mounts.tar"))
"""What a container's merged tree is made of, the lowest first: what is mounted lies on top."""
RECORD = 512
"""Bytes of a tar archive's record; two of zeros end the archive."""
BLOCKING = 20 * RECORD
"""Bytes that an archive's length is a multiple of, as POSIX wants it."""


def archives_of(bundle: BundleReader, container: str) -> list[Artifact]:
    """Return the archives of the container's merged tree, the lowest first.

    Raises `UsageError` for a container that is not in the bundle, `ForensicsError` where its file
    system was not captured.
    """
    bundle.check_container(container)
    there = {artifact.name: artifact for artifact in bundle.statement.predicate.artifacts}
    found = [
        there[name]
        for names in LAYERS
        for name in (container_file(container, each) for each in names)
        if name in there and name in bundle.objects
    ]
    if not found:
        raise ForensicsError(
            f"The file system of '{container}' was not captured",
            hint="'forensics ls' shows the reason under 'Not captured'",
        )
    return found


def cut_short(archives: Sequence[Artifact]) -> list[str]:
    """Return the names of those that do not hold all that there was."""
    return [one.name for one in archives if Flag.TRUNCATED in one.flags]


async def joined(bundle: BundleReader, archives: Sequence[Artifact]) -> AsyncGenerator[bytes, None]:
    """Yield one plain tar archive with the members of all of them, each verified at its end."""
    written = 0
    for artifact in archives:
        async with aclosing(read_artifact(bundle, artifact.name)) as blocks:
            async for piece in without_end(blocks, artifact.name):
                written += len(piece)
                yield piece
    end = 2 * RECORD
    yield bytes(end + -(written + end) % BLOCKING)


async def without_end(blocks: AsyncIterator[bytes], name: str) -> AsyncIterator[bytes]:
    """Pass an archive on without the zeros that end it, whatever zeros its last file holds.

    Raises `VerificationError` for what is no archive: nobody knows where it ends.
    """
    walk = TarWalk(_pass)
    passed, rest = 0, b""
    async for block in blocks:
        data = rest + block if rest else block
        whole = len(data) - len(data) % RECORD
        data, rest = data[:whole], data[whole:]
        if not walk.ended:
            await to_thread.run_sync(_feed, walk, data, name)
        kept = min(whole, walk.end - passed) if walk.ended else whole
        passed += whole
        if kept > 0:
            yield data[:kept]
    if rest and not walk.ended:
        yield rest.ljust(RECORD, b"\0")  # the archive was cut


def _feed(walk: TarWalk, block: bytes, name: str) -> None:
    try:
        walk.feed(block)
    except ValueError as error:
        raise VerificationError(
            f"{name} is no tar archive: {error}", hint="'forensics fetch --decompress' has it as is"
        ) from error


def _pass(_: Member) -> None:
    """Take in a member: only the archive's end matters here."""
