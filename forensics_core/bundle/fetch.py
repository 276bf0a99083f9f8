"""Bringing a bundle home, verified on the way::

    fetched = await fetch("s3://cases/forensics/20260801T101112Z_shop_web_4f2a-1", Path("case-42"))
    fetched.raise_for_problems()

A file has an ending, `.unverified`, until it turned out to be what the manifest says; what is not
keeps it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import zstandard
from anyio import to_thread

from forensics_core.bundle.expected import ExpectedObject, contradictions, selected
from forensics_core.bundle.identity import SEAL_REFUSED, notes_on
from forensics_core.bundle.layout import MANIFEST, SEAL, SHA256SUMS, UNVERIFIED
from forensics_core.bundle.object_checks import check_each, check_object
from forensics_core.bundle.parts import reading
from forensics_core.bundle.reader import MANIFEST_LIMIT, BundleReader, open_bundle
from forensics_core.bundle.verification import Problem, ProblemKind
from forensics_core.bundle.verify import WORKERS
from forensics_core.errors import AccessDenied, ObjectExists, ObjectNotFound, VerificationError
from forensics_core.pipeline.meter import Meter
from forensics_core.storage.blocks import BLOCK_SIZE
from forensics_core.storage.local import UNFINISHED, LocalStorage
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.storage import read_small

_MAX_PART = 255 - len(UNVERIFIED) - len(UNFINISHED)
"""Bytes of a file's name: file systems take 255, endings included."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was brought home."""

    location: str
    folder: Path
    manifest_sha256: str
    artifacts: int
    size: int
    """Bytes, as stored at the location."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def raise_for_problems(self) -> None:
        """Raise `VerificationError` unless everything was as the manifest says."""
        if self.problems:
            more = f", and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
            raise VerificationError(
                f"{self.location} does not verify: {self.problems[0]}{more}",
                hint=f"In {self.folder}, what ends in {UNVERIFIED} is not to be relied on",
            )


async def fetch(
    location: str,
    folder: Path,
    *,
    decompress: bool = False,
    select: Sequence[str] = (),
    progress: Meter | None = None,
    access: S3Access | None = None,
) -> Fetched:
    """Download the bundle at `location` into `folder`, which must be empty or not exist.

    With `decompress` every archive is there as it was before compression, too. `select`: globs, of
    which an object's name must match one; manifest and seal come always.

    Raises what `open_bundle` raises, `ObjectExists` for a folder in use, `UsageError` for a glob
    that nothing matches, and other `DestinationError`s.
    """
    destination = LocalStorage(await to_thread.run_sync(_free, folder))
    await destination.check()
    async with open_bundle(location, access=access) as bundle:
        meter = progress or Meter()
        wanted = selected(bundle.objects, select)
        fetcher = Fetcher(bundle, destination, meter, wanted, decompress=decompress)
        problems = await fetcher.fetch()
        return Fetched(
            location=bundle.url,
            folder=folder,
            manifest_sha256=bundle.manifest_sha256,
            artifacts=sum(each.name != SHA256SUMS for each in wanted),
            size=meter.bytes_read,
            problems=tuple(sorted(problems, key=lambda problem: (problem.name, problem.kind))),
            notes=(*notes_on(bundle, bundle), *fetcher.notes, *_selection(bundle, wanted)),
        )


def _selection(bundle: BundleReader, wanted: Sequence[ExpectedObject]) -> Iterator[str]:
    if len(wanted) < len(bundle.objects):
        yield f"Only {len(wanted)} of {len(bundle.objects)} objects were fetched"


class Fetcher:
    """One download under way."""

    def __init__(
        self,
        bundle: BundleReader,
        destination: LocalStorage,
        meter: Meter,
        wanted: Sequence[ExpectedObject],
        *,
        decompress: bool,
    ) -> None:
        self._bundle = bundle
        self._destination = destination
        self._meter = meter
        self._wanted = wanted
        self._decompress = decompress
        self.notes: list[str] = []

    async def fetch(self) -> list[Problem]:
        """Download everything that is wanted, then the seal, last the manifest."""
        expected = {each.name: each for each in self._wanted}
        self._meter.artifacts_total = len(expected)
        self._meter.bytes_total = sum(map(self._bundle.stored_size, expected.values()))
        problems = list(contradictions(self._bundle.statement))
        unfit = unusable_names(expected)
        problems += [Problem(ProblemKind.UNREADABLE, name, why) for name, why in unfit.items()]
        fit = [each for each in expected.values() if each.name not in unfit]
        problems += await check_each(fit, self._brought, at_once=WORKERS)
        await self._fetch_seal()
        await self._put(MANIFEST, self._bundle.manifest)
        return problems

    async def _brought(self, expected: ExpectedObject) -> list[Problem]:
        self._meter.current = expected.name
        problem = await self._fetch_one(expected)
        self._meter.artifacts_done += 1
        return [problem] if problem else []

    async def _fetch_one(self, expected: ExpectedObject) -> Problem | None:
        """Download one object, and its plain copy; a name that is taken stops no other."""
        try:
            problem = await self._download(expected)
            if problem is None and self._wants_plain(expected):
                await self._write_plain(expected)
        except ObjectExists as error:
            return Problem(ProblemKind.UNREADABLE, expected.name, error.message)
        return problem

    async def _download(self, expected: ExpectedObject) -> Problem | None:
        name = expected.name + UNVERIFIED
        async with self._destination.create(name) as writer:

            async def write(block: bytes) -> None:
                await writer.write(block)
                self._meter.bytes_read += len(block)

            async with reading(self._bundle, expected) as blocks:
                problem = await check_object(blocks, expected, write)
            if problem is None or problem.kind is not ProblemKind.MISSING:
                await writer.commit()
        if problem is None:
            await to_thread.run_sync(_settle, self._destination.path, name, expected.name)
        return problem

    def _wants_plain(self, expected: ExpectedObject) -> bool:
        folders = (name.startswith(f"{expected.plain_name}/") for name in self._bundle.objects)
        clashes = expected.plain_name in self._bundle.objects or any(folders)
        return self._decompress and expected.compressed and not clashes

    async def _write_plain(self, expected: ExpectedObject) -> None:
        archive = self._destination.path / expected.name
        async with (
            self._destination.create(expected.plain_name) as writer,
            aclosing(_decompressed(archive)) as blocks,
        ):
            async for block in blocks:
                await writer.write(block)
            await writer.commit()

    async def _fetch_seal(self) -> None:
        """Store the seal, if there is one; who may not list is refused what is not there, too."""
        version = self._bundle.version_of(SEAL, None)
        try:
            seal = await read_small(self._bundle.store, SEAL, version, limit=2 * MANIFEST_LIMIT)
        except ObjectNotFound:
            return
        except AccessDenied:
            self.notes.append(SEAL_REFUSED)
        else:
            await self._put(SEAL, seal)

    async def _put(self, name: str, data: bytes) -> None:
        async with self._destination.create(name) as writer:
            await writer.write(data)
            await writer.commit()


def unusable_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names that objects may have, but files beside each other may not, and why."""
    files = {MANIFEST, SEAL, *names}
    found = {}
    for name in sorted(files):
        *folders, _ = parts = name.split("/")
        above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if max(len(part.encode()) for part in parts) > _MAX_PART:
            found[name] = f"a part of its name is longer than {_MAX_PART} bytes: no file has that"
        elif any(folder in files for folder in above):
            found[name] = "a file of the bundle has the name of the folder that it would lie in"
        elif any(folder.endswith((UNVERIFIED, UNFINISHED)) for folder in folders):
            found[name] = "its folder has the name of a file that is not verified"
    return found


async def _decompressed(archive: Path) -> AsyncGenerator[bytes, None]:
    """Yield what is in an archive that was verified, a block at a time."""
    file: IO[bytes] = await to_thread.run_sync(archive.open, "rb")
    with file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        while block := await to_thread.run_sync(reader.read, BLOCK_SIZE):
            yield block


def _free(folder: Path) -> Path:
    """Return the folder's absolute path, if nothing is in it."""
    if folder.is_dir() and any(folder.iterdir()):
        raise ObjectExists(
            f"{folder} is not empty, and nothing is ever overwritten",
            hint="Name a folder that is empty or does not exist",
        )
    return folder.absolute()


def _settle(folder: Path, unverified: str, name: str) -> None:
    """Give a verified file its own name, which nobody else can have taken."""
    target = folder / name
    if os.path.lexists(target):
        raise ObjectExists(f"{target} exists already", hint="Name an empty folder")
    (folder / unverified).rename(target)
