"""The archives of a container, and how several become one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

from anyio import to_thread

from forensics_core._internal.flaws import Flaws
from forensics_core._internal.text import printable
from forensics_core.bundle.layout import (
    MOUNTS_ARCHIVES,
    ROOTFS_ARCHIVES,
    UPPER_ARCHIVES,
    container_file,
)
from forensics_core.bundle.manifest import Artifact, Flag
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, ObjectNotFound, VerificationError
from forensics_core.readers.artifacts import read_artifact
from forensics_core.readers.export.files import new_file
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.walk import TarWalk

LAYERS = (ROOTFS_ARCHIVES, UPPER_ARCHIVES, MOUNTS_ARCHIVES)
"""What a container's merged tree is made of, the lowest first: on top of the file system lie what a
container that was removed had written, and what was mounted."""
RECORD = 512
"""Bytes of a tar archive's record; two of zeros end the archive."""
BLOCKING = 20 * RECORD
"""Bytes that an archive's length is a multiple of, as POSIX wants it."""
NOT_AS_PROMISED = (VerificationError, ObjectNotFound)
"""What one archive of a bundle fails with, while the others can be exported."""


def archives_of(
    bundle: BundleReader,
    container: str,
    kinds: Sequence[Sequence[str]] = LAYERS,
    *,
    fine: bool = False,
) -> list[Artifact]:
    """Return the archives of the container's merged tree, or of `kinds`, the lowest first.

    Raises `UsageError` for a container that is not in the bundle, `ForensicsError` where it has
    none of them, unless that is `fine`.
    """
    bundle.check_container(container)
    there = {artifact.name: artifact for artifact in bundle.statement.predicate.artifacts}
    found = [
        there[name]
        for names in kinds
        for name in (container_file(container, each) for each in names)
        if name in there and name in bundle.objects
    ]
    if not found and not fine:
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
    yield end_of(written)


async def write_joined(
    bundle: BundleReader, archives: Sequence[Artifact], path: Path
) -> list[ForensicsError]:
    """Write what `joined` yields into a new file, without the archives that cannot be relied on.

    Returns why each of those is missing. Raises `ObjectExists`, and if none is left the first
    reason: nothing is kept then.
    """
    failures: list[ForensicsError] = []
    async with new_file(path) as file:
        for artifact in archives:
            begin = await to_thread.run_sync(file.tell)
            try:
                async with aclosing(read_artifact(bundle, artifact.name)) as blocks:
                    async for piece in without_end(blocks, artifact.name):
                        await to_thread.run_sync(file.write, piece)
            except NOT_AS_PROMISED as error:
                failures.append(error)
                await to_thread.run_sync(file.seek, begin)
                await to_thread.run_sync(file.truncate)
        if len(failures) == len(archives):
            raise failures[0]
        end = end_of(await to_thread.run_sync(file.tell))
        await to_thread.run_sync(file.write, end)
    return failures


def end_of(written: int) -> bytes:
    """Return what ends an archive of so many bytes."""
    end = 2 * RECORD
    return bytes(end + -(written + end) % BLOCKING)


async def without_end(blocks: AsyncIterator[bytes], name: str) -> AsyncGenerator[bytes, None]:
    """Pass an archive on without the zeros that end it, whatever zeros its last file holds.

    Raises `VerificationError` for what is no archive, since nobody knows where it ends, and at the
    end where members would be unpacked outside of the folder that somebody chose for them.
    """
    flaws = Flaws(name, "has members that a collector does not write")
    walk = TarWalk(OutsideNames(flaws))
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
    flaws.check()


def _feed(walk: TarWalk, block: bytes, name: str) -> None:
    try:
        walk.feed(block)
    except ValueError as error:
        raise VerificationError(
            f"{name} is not a tar archive: {error}",
            hint="'forensics fetch --decompress' has it as is",
        ) from error


class OutsideNames:
    """Notes the members whose names lead out of the archive, as `../../etc/cron.d/x` does."""

    def __init__(self, flaws: Flaws) -> None:
        self._flaws = flaws

    def __call__(self, member: Member) -> None:
        """Look at a member."""
        names = [member.path, member.target] if member.kind == "hardlink" else [member.path]
        if any(b".." in name.split(b"/") for name in names):
            shown = member.path.decode(errors="surrogateescape")
            self._flaws.add(f"{printable(shown, 200)} leads out of it")
