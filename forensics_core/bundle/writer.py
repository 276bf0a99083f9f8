"""Writing a bundle: artifacts as they come, then the checksums, last of all the manifest.

A bundle without a manifest is unfinished, always::

    bundle = BundleWriter(destination, meter)
    spec = ArtifactSpec("containers/web/inspect.json", ArtifactKind.INSPECT, "web")
    await bundle.add(spec, one(data))
    statement = await bundle.finish(capture)
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio

from forensics_core._internal.tasks import finish_despite_cancel
from forensics_core.api.order import ArtifactKind, Compression, ContextFile
from forensics_core.bundle.layout import MANIFEST, SHA256SUMS
from forensics_core.bundle.manifest import (
    Artifact,
    Capture,
    DigestSet,
    Flag,
    NotCaptured,
    Remark,
    Statement,
    StoreTraits,
    Subject,
)
from forensics_core.pipeline import stages
from forensics_core.pipeline.levels import LevelControl
from forensics_core.pipeline.meter import Meter
from forensics_core.pipeline.run import run_pipeline
from forensics_core.storage.objects import Buffer, StoredObject
from forensics_core.storage.storage import Storage

CLOSING = 30.0
"""Seconds that a bundle whose capture is cancelled at the very end may take to become whole."""
MAX_REMARKS = 1_000
"""Remarks kept for one artifact; the rest are only counted."""
MAX_REMARKS_SIZE = 1024 * 1024
"""Bytes of the manifest that they may take, so that hostile names cannot make it unreadable."""
MAX_NAME = 1024
"""Characters of a name that are shown."""
ROOM_FOR_REMARKS = 4 * 1024 * 1024
"""Bytes that all remarks of a manifest may take: no pod can make it too large to be sealed."""
MAX_END = 64 * 1024
"""Bytes of a seek table that is kept: that of 32 GiB."""
ROOM_OF_A_REMARK = 200
"""Bytes that are counted for each, beside its text."""


@dataclass(slots=True)
class SourceNotes:
    """What a source noticed while it was read; complete once it has ended."""

    flags: set[Flag] = field(default_factory=set)
    remarks: list[Remark] = field(default_factory=list)
    remarks_total: int = 0
    _room: int = MAX_REMARKS_SIZE

    def remark(self, path: str, message: str) -> None:
        """Note something about the member `path`; past the limits it is only counted."""
        self.remarks_total += 1
        path, message = shortened(path), shortened(message)
        size = len(json.dumps([path, message]))
        if len(self.remarks) < MAX_REMARKS and size <= self._room:
            self._room -= size
            self.remarks.append(Remark(path=path, message=message))


def shortened(name: str) -> str:
    """Return `name`, which somebody hostile may have chosen, with an ellipsis past `MAX_NAME`."""
    return name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…"


@dataclass(frozen=True, slots=True)
class ArtifactSpec:
    """What is known of an artifact before its first byte."""

    name: str
    """Its path in the bundle, with the ending that its compression gives it."""
    kind: ArtifactKind
    container: str | None = None
    media_type: str = "application/octet-stream"
    method: str = ""
    compression: Compression = Compression.NONE


@dataclass(frozen=True, slots=True)
class _Steps:
    """What an artifact's bytes pass through."""

    all: Sequence[stages.Stage]
    original: stages.Digest
    """Of the bytes before compression."""
    stored: stages.Digest
    """Of those after it."""
    zstd: stages.Zstd | None = None

    @property
    def frames_by_level(self) -> dict[str, int]:
        made = self.zstd.frames_by_level if self.zstd else {}
        return {str(level): count for level, count in made.items()}


class _Copy:
    """A sink that keeps what goes to another one, as long as it is no more than `most` bytes."""

    def __init__(self, sink: Callable[[Buffer], Awaitable[None]], most: int) -> None:
        self._most = most
        self._sink = sink
        self._data = bytearray()
        self._size = 0

    async def write(self, block: Buffer) -> None:
        """Hand a block on."""
        self._size += len(block)
        if self._size > self._most:
            self._data.clear()
        else:
            self._data += block
        await self._sink(block)

    @property
    def whole(self) -> bytes:
        """All that went; nothing if it was more."""
        return bytes(self._data)


class BundleWriter:
    """A bundle being written to `destination`, which is the bundle's own folder."""

    def __init__(
        self, destination: Storage, meter: Meter | None = None, *, closing: float = CLOSING
    ) -> None:
        self.destination = destination
        self._closing = closing
        self.meter = meter or Meter()
        self.artifacts: list[Artifact] = []
        self.not_captured: list[NotCaptured] = []
        self.ends: dict[str, bytes] = {}
        """The seek tables of archives with an index, and all of what was added as `little`: a
        lookup table may have copies, which spare readers a request each."""
        self._room = ROOM_FOR_REMARKS
        # All artifacts go the same way. In a folder nothing waits: what is written is there.
        self._levels = LevelControl(getattr(destination, "fullness", None))

    async def add(
        self,
        spec: ArtifactSpec,
        source: AsyncIterable[Buffer],
        notes: SourceNotes | None = None,
        *,
        taps: Sequence[stages.Stage] = (),
        framed: bool = False,
        little: int = 0,
    ) -> Artifact:
        """Stream `source` into the bundle, hashing it before and after compression.

        `taps` see the bytes first, and change nothing. Where `framed`, each block of the source
        becomes a frame of its own. What has no more than `little` bytes, as stored, is kept in
        `ends`. Nothing of it is stored if the source or the destination fails:
        the error is raised, and the bundle goes on without the artifact.
        """
        started, clock = datetime.now(UTC), time.monotonic()
        steps = self._steps(spec.compression)
        with self.meter.during(spec.name):
            target = self.destination.create(spec.name, content_type=spec.media_type)
            async with target as writer:
                way = [*taps, *steps.all]
                copy = _Copy(writer.write, little)
                await run_pipeline(source, way, copy.write, self.meter, framed=framed)
                kept = await writer.commit()
        # Of what nobody looks into with an index, and is large, nothing is kept.
        table = steps.zstd.table if steps.zstd and (taps or little) else b""
        end = copy.whole or table
        if 0 < len(end) <= max(MAX_END, little):
            self.ends[spec.name] = end
        artifact = self._artifact(
            spec, steps, kept, notes or SourceNotes(), started, time.monotonic() - clock
        )
        self.artifacts.append(artifact)
        self.meter.artifacts_done += 1
        return artifact

    def _artifact(
        self,
        spec: ArtifactSpec,
        steps: _Steps,
        kept: StoredObject,
        notes: SourceNotes,
        started: datetime,
        seconds: float,
    ) -> Artifact:
        # Not by the constructor, whose `UsageError` would end the capture: a store may well name a
        # version that no manifest can hold, and then the artifact is a gap.
        return Artifact.model_validate(
            {
                "name": spec.name,
                "kind": spec.kind,
                "container": spec.container,
                "media_type": spec.media_type,
                "method": spec.method,
                "compression": Compression.ZSTD
                if spec.compression.compresses
                else spec.compression,
                "frames_by_level": steps.frames_by_level,
                "sha256": steps.stored.sha256,
                "size": kept.size,
                "original_sha256": steps.original.sha256,
                "original_size": steps.original.size,
                "started_at": started,
                "finished_at": datetime.now(UTC),
                "seconds": round(seconds, 6),
                "version_id": kept.version_id,
                "crc64nvme": kept.crc64nvme,
                "flags": tuple(sorted(notes.flags)),
                "remarks": self._with_room(notes.remarks),
                "remarks_total": notes.remarks_total,
            }
        )

    def _with_room(self, remarks: Sequence[Remark]) -> tuple[Remark, ...]:
        """Return the first of them, as many as the manifest has room for."""
        kept = []
        for remark in remarks:
            self._room -= len(json.dumps([remark.path, remark.message])) + ROOM_OF_A_REMARK
            if self._room < 0:
                break
            kept.append(remark)
        return tuple(kept)

    async def probe(self, data: bytes) -> None:
        """Find out whether the destination refuses to replace the last artifact, which is `data`.

        A store that takes it a second time has the same bytes there, but perhaps as a newer
        version, and then that is the one which the manifest names.
        """
        probe = getattr(self.destination, "probe", None)
        if probe is None:
            return  # A folder: the kernel keeps its promise.
        last = self.artifacts[-1]
        taken: StoredObject | None = await probe(last.name, data, content_type=last.media_type)
        if taken is not None:
            self.artifacts[-1] = last.model_copy(update={"version_id": taken.version_id})

    def record_gap(self, gap: NotCaptured) -> None:
        """Record that something is not in the bundle."""
        self.not_captured.append(gap)

    async def finish(self, capture: Capture, context: Sequence[ContextFile] = ()) -> FinishedBundle:
        """Write `SHA256SUMS`, then `manifest.json`: after this the bundle is whole.

        `capture` comes without artifacts and gaps; they are filled in here. `context` are the files
        that somebody else put into the bundle before.

        Who is cancelled meanwhile still gets the bundle if that takes no more than `closing`
        seconds; the cancellation is delivered at the next occasion.
        """
        finished: list[FinishedBundle] = []

        async def close() -> None:
            finished.append(await self._close(capture, context))

        try:
            await finish_despite_cancel(close, self._closing)
        except anyio.get_cancelled_exc_class():
            # What is whole is never called unfinished.
            if not finished:
                raise
        return finished[0]

    async def _close(self, capture: Capture, context: Sequence[ContextFile]) -> FinishedBundle:
        sums = {artifact.name: artifact.sha256 for artifact in self.artifacts}
        sums |= {file.name: file.sha256 for file in context}
        listing = checksums(sums)
        await self._put(SHA256SUMS, listing, "text/plain; charset=utf-8")
        sums[SHA256SUMS] = hashlib.sha256(listing).hexdigest()
        statement = Statement(
            subject=tuple(
                Subject(name=name, digest=DigestSet(sha256=digest))
                for name, digest in sorted(sums.items())
            ),
            predicate=capture.model_copy(
                update={
                    "artifacts": tuple(self.artifacts),
                    "not_captured": tuple(self.not_captured),
                    "store": self._store(),
                    "finished_at": datetime.now(UTC),
                }
            ),
        )
        document = statement.to_bytes()
        stored = await self._put(MANIFEST, document, "application/vnd.in-toto+json")
        return FinishedBundle(statement, hashlib.sha256(document).hexdigest(), stored)

    def _store(self) -> StoreTraits | None:
        told = getattr(self.destination, "store", None)
        return StoreTraits.model_validate(told) if told else None

    def _steps(self, compression: Compression) -> _Steps:
        original = stages.Digest()
        if not compression.compresses:
            return _Steps([original], original, original)
        stored = stages.Digest()
        zstd = stages.Zstd(self._levels if compression is Compression.AUTO else None)
        return _Steps([original, zstd, stored], original, stored, zstd)

    async def _put(self, name: str, data: bytes, media_type: str) -> StoredObject:
        async with self.destination.create(name, content_type=media_type) as writer:
            await writer.write(data)
            return await writer.commit()


def checksums(digests: Mapping[str, str]) -> bytes:
    """Return what `SHA256SUMS` holds, from each object's name to its SHA-256."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


@dataclass(frozen=True, slots=True)
class FinishedBundle:
    """A finished bundle: what its manifest says, and the manifest's own digest."""

    statement: Statement
    manifest_sha256: str
    manifest: StoredObject
