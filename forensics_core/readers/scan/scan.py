"""All of a bundle under the rules, as a stream::

async with open_bundle("cases/42") as bundle:
    wanted = Wanted(rules=(Path("webshells.yar"),))
    counts = await scan(bundle, ["web"], wanted, notes, tell=results.extend)

Nothing is extracted, and memory is bounded: see `windows`. What is read is verified on the way, and
so known to be genuine at its end only: what was told of an artifact that turns out not to be is not
to be relied on, and `notes` says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectSendStream

from forensics_core._internal.tasks import task_group
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.layer import ArchiveNames, open_layer
from forensics_core.bundle.layout import container_file
from forensics_core.bundle.manifest import Artifact
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.readers.artifacts import gunzipped, read_artifact
from forensics_core.readers.findings.documents import DocumentRow, number, rows, text
from forensics_core.readers.notes import Notes
from forensics_core.readers.scan.known import KnownHashes
from forensics_core.readers.scan.looking import ArchiveScanner, FileScanner, file_in
from forensics_core.readers.scan.results import ScanCounts, ScannedKind, ScannedObject, ScanResult
from forensics_core.readers.scan.session import EngineFailed, ScanEngine, running_engine
from forensics_core.tarindex.row import exact_bytes
from forensics_core.tarindex.walk import TarWalk


def _do_nothing() -> None:
    pass


ScanListener = Callable[[Sequence[ScanResult]], object]
"""Takes what was found, some at a time."""

T = TypeVar("T")
_ARCHIVE = (".tar.zst", ".tar")
_AHEAD = 1
"""Blocks that are decompressed while another is looked at."""


@dataclass(frozen=True, slots=True)
class ScanTargets:
    """What a scan looks for."""

    rules: tuple[Path, ...] = ()
    known: KnownHashes | None = None
    every_file: bool = False
    """Whether to tell of every file what the lists say of it."""
    seconds: int = 60
    """How long the rules may take over one window of a file."""


async def scan(
    bundle: BundleReader,
    containers: Sequence[str],
    wanted: ScanTargets,
    notes: Notes,
    tell: ScanListener,
) -> ScanCounts:
    """Look at everything of these containers, and `tell` what was found; return how much there was.

    Without rules, and with SHA-256 in the lists only, indexes are read in place of archives. What
    cannot be read is noted. Raises `UsageError` for a container that is not in the bundle, and for
    rules that are none.
    """
    names = [bundle.check_container(name) for name in containers]
    waiting = deque(
        artifact
        for name in names
        for artifact in bundle.statement.predicate.artifacts
        if artifact.container == name and artifact.name in bundle.objects
    )
    counts = ScanCounts()
    while waiting:
        async with _engine(wanted) as engine:
            look = FileScanner(engine, wanted.known, counts, every_file=wanted.every_file)
            await _until_failure(bundle, waiting, look, notes, tell)
    return counts


@asynccontextmanager
async def _engine(wanted: ScanTargets) -> AsyncIterator[ScanEngine | None]:
    if not wanted.rules:
        yield None
        return
    async with running_engine(wanted.rules, wanted.seconds) as engine:
        yield engine


async def _until_failure(
    bundle: BundleReader,
    waiting: deque[Artifact],
    look: FileScanner,
    notes: Notes,
    tell: ScanListener,
) -> None:
    """Take artifacts from `waiting`, until there are no more or the engine fails over one."""
    while waiting:
        one = _Scan(bundle, waiting.popleft(), look, tell)
        try:
            try:
                await one.run()
            except EngineFailed:
                raise
            except ForensicsError as error:
                notes.add(error)
                await one.abandon()
        except EngineFailed as error:
            notes.add(error)
            look.counts.failed += 1
            return
        finally:
            tell(look.take())


class _Scan:
    """One artifact under the rules."""

    def __init__(
        self, bundle: BundleReader, artifact: Artifact, look: FileScanner, tell: ScanListener
    ) -> None:
        self._bundle = bundle
        self._container = artifact.container or ""
        self._artifact = artifact
        self._name = artifact.name
        self._look = look
        self._tell = tell

    async def run(self) -> None:
        """Look at it, if it is something that holds what the container held."""
        kind = self._artifact.kind
        if self._name.endswith(_ARCHIVE):
            await self._archive()
        elif not self._look.engine:
            return
        elif kind in {ArtifactKind.LOGS, ArtifactKind.MEMORY}:
            await self._stream(ScannedKind.LOG if kind is ArtifactKind.LOGS else ScannedKind.MEMORY)
        elif self._name == container_file(self._container, "processes.json"):
            await self._processes()

    async def _archive(self) -> None:
        if self._look.index_suffices and await self._index():
            return
        members = ArchiveScanner(self._look, self._container, self._name)
        walk = TarWalk(members, members)
        blocks = read_artifact(self._bundle, self._name)
        await self._pass(blocks, partial(self._feed, walk), walk.finish)

    def _feed(self, walk: TarWalk, block: bytes) -> None:
        try:
            walk.feed(block)
        except ValueError as error:
            raise VerificationError(f"{self._name} is not a tar archive: {error}") from error

    async def _index(self) -> bool:
        """Take the hashes from the archive's index; return whether it has one."""
        file = self._name.rpartition("/")[2]
        stem = file.removesuffix(".zst").removesuffix(".tar")
        names = ArchiveNames((file,), f"{stem}.index.jsonl.zst", f"{stem}.lookup.jsonl.zst")
        layer = await open_layer(self._bundle, self._container, names)
        if layer is None:
            return False
        async with aclosing(layer.batches()) as batches:
            async for batch in batches:
                for row in batch:
                    if row.kind == "file":
                        subject = file_in(self._container, self._name, row.path)
                        self._look.finish(subject, {"sha256": row.sha256})
                self._tell(self._look.take())
        layer.check()
        return True

    async def _stream(self, kind: ScannedKind) -> None:
        blocks = read_artifact(self._bundle, self._name)
        if self._name.endswith(".gz"):
            blocks = gunzipped(blocks, self._name)
        subject = ScannedObject(kind, self._container, self._name, "")
        await self._pass(blocks, self._feed_block, partial(self._look.finish, subject))

    def _feed_block(self, block: bytes) -> None:
        self._look.feed(memoryview(block))

    async def _processes(self) -> None:
        await self._pass(rows(self._bundle, self._name), self._several)

    def _several(self, batch: list[DocumentRow]) -> None:
        for row in batch:
            path = f"process {number(row.get('pid'))} {text(row.get('comm'))}"
            for kind, field in (
                (ScannedKind.ENVIRONMENT, "environ"),
                (ScannedKind.COMMAND, "cmdline"),
            ):
                if data := _joined(row.get(field)):
                    self._look.feed(memoryview(data))
                    subject = ScannedObject(kind, self._container, self._name, path)
                    self._look.finish(subject)

    async def abandon(self) -> None:
        """Leave the rest of it alone, and wait for what is known of the beginning."""
        await self._pass(_nothing(), _ignore, self._look.abandon)

    async def _pass(
        self,
        items: AsyncGenerator[T, None],
        feed: Callable[[T], None],
        end: Callable[[], None] = _do_nothing,
    ) -> None:
        """Feed what `items` yields while the next one is fetched, decompressed and hashed.

        Comes back when the rules have seen all of it.
        """
        failures: list[ForensicsError] = []
        send, receive = anyio.create_memory_object_stream[T](_AHEAD)
        async with task_group() as tasks:
            tasks.start_soon(_fill, items, send, failures)
            if self._look.engine:
                tasks.start_soon(self._look.engine.answers, self._look.answer)
            async with receive:
                async for item in receive:
                    await self._step(partial(feed, item))
            if failures:
                raise failures[0]
            await self._step(end)
            if self._look.engine:
                await self._look.engine.all_answered()
            tasks.cancel_scope.cancel()
        self._tell(self._look.take())

    async def _step(self, step: Callable[[], None]) -> None:
        def flushed() -> None:
            step()
            self._look.flush()

        try:
            # Whoever cancels does not wait for the rules: the engine is killed, and the thread ends
            # with the pipe.
            await to_thread.run_sync(flushed, abandon_on_cancel=True)
        except BrokenPipeError:
            await anyio.sleep_forever()  # the engine is gone, and `answers` knows how it ended
        self._tell(self._look.take())


async def _fill(
    items: AsyncGenerator[T, None],
    send: MemoryObjectSendStream[T],
    failures: list[ForensicsError],
) -> None:
    """Send what `items` yields. What it fails with is kept until all before it was looked at."""
    async with send, aclosing(items):
        try:
            async for item in items:
                await send.send(item)
        except ForensicsError as error:
            failures.append(error)


async def _nothing() -> AsyncGenerator[None, None]:
    for nothing in tuple[None, ...]():
        yield nothing


def _ignore(_: object) -> None:
    pass


def _joined(values: object) -> bytes:
    """Return what a process has in its memory for a list of arguments, or of variables."""
    if not isinstance(values, list):
        return b""
    found = []
    for value in values:
        try:
            found.append(exact_bytes(value))
        except (ValueError, TypeError, LookupError):
            found.append(text(value).encode(errors="surrogatepass"))
    return b"\0".join(found)
