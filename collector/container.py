"""One container under capture: what all of its artifacts share."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from secrets import token_bytes
from typing import TypeVar

import anyio

from collector.documents import document
from collector.files.changes import OpenLayers
from collector.files.deletedarchive import DeletedFilesPlan
from collector.files.logfiles import LogFiles
from collector.files.upper import HeldUpper
from collector.limits import RateLimit, Stop
from collector.node.unlisted import KeptReference
from collector.recording.writes import Writes
from collector.runtimes.runtime import ContainerInfo, Runtime
from forensics_core.api.order import DELETED_BUDGET, ArtifactKind, Compression, KubeletCheckpoint
from forensics_core.bundle.layout import container_file
from forensics_core.bundle.manifest import Flag, NotCaptured
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter, SourceNotes
from forensics_core.errors import ContainerGone
from forensics_core.pipeline.stages import Stage
from forensics_core.storage.blocks import one
from forensics_core.storage.objects import Buffer

T = TypeVar("T")


@dataclass(slots=True)
class OpenedAtStart:
    """What of a container is open from the beginning of the capture on; None is what is not."""

    logs: LogFiles | None = None
    layers: OpenLayers | None = None
    root: int | None = None
    """A descriptor of the merged file system."""
    upper: HeldUpper | None = None
    """What the container wrote."""
    deleted: DeletedFilesPlan | None = None
    """What only processes still have."""
    kept: list[KeptReference] = field(default_factory=list)
    """File systems that are mounted nowhere in sight, for the archive of mounts."""


@dataclass(slots=True)
class ContainerCapture:
    """Where the artifacts of one container come from, and where they go."""

    name: str
    """The container's folder in the bundle."""
    container: ContainerInfo
    """As it was when the capture began."""
    runtime: Runtime
    bundle: BundleWriter
    compression: Compression
    """For what is large."""
    deadline: float
    """When every stream ends, by the event loop's clock."""
    added: int = 0
    """Artifacts in the bundle so far."""
    stop: Stop = field(default_factory=Stop)
    """Ends every stream before the deadline."""
    rate_limit: RateLimit = field(default_factory=RateLimit)
    """How fast all of them are read."""
    peers: int = 1
    """Containers that share the time until the deadline."""
    held: OpenedAtStart = field(default_factory=OpenedAtStart)
    """What was opened before anything was read."""
    hidden: list[int] = field(default_factory=list)
    """Processes that are its, though no listing of /proc has them."""
    wanted: frozenset[ArtifactKind] = frozenset()
    """The kinds of evidence that were asked for."""
    deleted_budget: int = DELETED_BUDGET
    """Bytes of deleted files that are stored."""
    volumes: tuple[str, ...] = ()
    """Volumes that were asked for by name, or by path in the container."""
    digest_key: bytes = field(default_factory=partial(token_bytes, 32), repr=False)
    """With which digests of secrets are made: of all containers the same."""
    freeze: bool = True
    """Whether a process is held still while its memory is read."""
    kubelet_checkpoint: KubeletCheckpoint | None = None
    """What came of asking the kubelet for its memory; None where nobody asked, and once it was
    seen to."""
    writes: Writes | None = None
    """Which of its files are written meanwhile, where that is recorded."""
    namespaces: dict[bytes, list[int]] = field(default_factory=dict)
    """Its network namespaces, once they were looked for, with the processes that are in each."""

    @asynccontextmanager
    async def root(self) -> AsyncIterator[int]:
        """Open the file system, as `Runtime.root` does, or take what has been held open."""
        async with _held(self.held.root, self.runtime.root, self.container) as root:
            yield root

    @asynccontextmanager
    async def layers(self) -> AsyncIterator[OpenLayers]:
        """Open the layers, as `Runtime.layers` does, or take what has been held open."""
        async with _held(self.held.layers, self.runtime.layers, self.container) as layers:
            yield layers

    @asynccontextmanager
    async def log_files(self) -> AsyncIterator[LogFiles]:
        """Open the logs, as `Runtime.log_files` does, or take what has been held open."""
        async with _held(self.held.logs, self.runtime.log_files, self.container) as logs:
            yield logs

    async def is_removed(self) -> bool:
        """Return whether the runtime has removed the container meanwhile."""
        try:
            await self.runtime.inspect(self.container)
        except ContainerGone:
            return True
        return False

    @property
    def is_over(self) -> bool:
        """Whether reading has to end now."""
        return self.stop.requested or anyio.current_time() >= self.deadline

    def part(self, share: float) -> float:
        """Return when this container's part of a `share` of the time that is left ends."""
        now = anyio.current_time()
        return now + max(self.deadline - now, 0) * share / self.peers

    async def add(
        self,
        name: str,
        kind: ArtifactKind,
        blocks: AsyncIterable[Buffer],
        *,
        method: str,
        media_type: str,
        notes: SourceNotes | None = None,
        compression: Compression = Compression.NONE,
        taps: Sequence[Stage] = (),
        whole: bool = False,
        framed: bool = False,
        little: int = 0,
    ) -> bool:
        """Stream `blocks` into the bundle, truncated at the deadline or at the wish to stop.

        `taps` see them on their way. Those of `whole` are never truncated here: they know the
        deadline themselves. Where `framed`, each block is compressed as it comes. Of `little` see
        `BundleWriter.add`. Returns whether
        there was time for all of them.
        """
        zstd = compression.compresses
        spec = ArtifactSpec(
            container_file(self.name, f"{name}.zst" if zstd else name),
            kind,
            self.name,
            "application/zstd" if zstd else media_type,
            method,
            compression,
        )
        notes = notes if notes is not None else SourceNotes()
        source = _UntilDeadline(self, aiter(blocks), notes)
        way = blocks if whole else source
        await self.bundle.add(spec, way, notes, taps=taps, framed=framed, little=little)
        self.added += 1
        if source.cut:
            self.record_time_gap(f"{name}, its rest")
        return not source.cut

    async def add_json(
        self,
        name: str,
        kind: ArtifactKind,
        content: bytes | dict[str, object],
        *,
        method: str,
        little: int = 0,
    ) -> None:
        """Store JSON: a document byte for byte, or what it is to hold; of `little` see `add`."""
        data = content if isinstance(content, bytes) else document(content)
        await self.add(
            name,
            kind,
            one(data),
            method=method,
            media_type="application/json",
            little=little,
        )

    def record_gap(
        self, what: str, reason: str, message: str, *, requested: bool = True, **facts: str | int
    ) -> None:
        """Record that something of this container is not in the bundle.

        `facts` are further fields of `NotCaptured`. They and `message` may hold what the container
        chose, even what is no Unicode.
        """
        gap: dict[str, str | int] = {"what": what, "reason": reason, "message": message, **facts}
        portable = {
            name: value.encode(errors="backslashreplace").decode()
            if isinstance(value, str)
            else value
            for name, value in gap.items()
        }
        self.bundle.record_gap(
            NotCaptured.model_validate({**portable, "container": self.name, "requested": requested})
        )

    def record_time_gap(self, what: str) -> None:
        """Record that the deadline, or the wish to stop, came before the end of something."""
        reason = self.stop.reason
        which = "deadline came" if reason == "Deadline" else "capture was told to end"
        self.record_gap(what, reason, f"The {which} before this was captured whole")


@asynccontextmanager
async def _held(
    held: T | None,
    opening: Callable[[ContainerInfo], AbstractAsyncContextManager[T]],
    container: ContainerInfo,
) -> AsyncIterator[T]:
    if held is not None:
        yield held
        return
    async with opening(container) as opened:
        yield opened


class _UntilDeadline:
    """Passes blocks on, and ends by itself when time is up before the next one."""

    def __init__(
        self, capture: ContainerCapture, source: AsyncIterator[Buffer], notes: SourceNotes
    ) -> None:
        self._capture = capture
        self._source = source
        self._notes = notes
        self.cut = False
        """Whether time was up before the end."""

    def __aiter__(self) -> AsyncIterator[Buffer]:
        return self

    async def __anext__(self) -> Buffer:
        with self._capture.stop.scope(self._capture.deadline) as scope:
            await self._capture.rate_limit.turn()
            block = await anext(self._source)
        if not scope.cancelled_caught:
            self._capture.rate_limit.spent(len(block))
            return block
        self.cut = True
        self._notes.flags.add(Flag.TRUNCATED)
        raise StopAsyncIteration
