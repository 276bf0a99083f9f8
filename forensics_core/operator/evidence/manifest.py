"""Manifests as they lie in the bucket, read so that none of them can take the operator down.

A manifest is hostile input: a node wrote it. Parsed, it takes many times its size in memory, so
there is a limit to its bytes and to how many parts it has, and large ones are held one at a time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

import anyio
from anyio import to_thread

from forensics_core.api.podcheckpoint import ContainerState, ContainerStatus
from forensics_core.bundle.layout import MANIFEST
from forensics_core.bundle.manifest import Container, Statement
from forensics_core.bundle.versions import choose_manifest, history_of
from forensics_core.bundle.writer import FinishedBundle
from forensics_core.errors import ObjectNotFound, TooManyObjects, VerificationError
from forensics_core.readers.findings.small_documents import (
    NO_DOCUMENTS,
    SmallDocuments,
    small_documents,
)
from forensics_core.storage.objects import StoredObject
from forensics_core.storage.storage import ReadableStorage, read_small

T = TypeVar("T")
LIMIT = 8 * 1024 * 1024
"""Bytes of a manifest; one of 256 containers with all their remarks has less."""
SMALL = 256 * 1024
"""Bytes up to which several manifests are held at once."""
AT_ONCE = 16 * 1024
"""Bytes of JSON that are worked on in the event loop: a millisecond, and a thread costs more."""
MAX_PARTS = 50_000
"""Objects and lists within one: some bytes of text each, hundreds of bytes in memory."""
MAX_VALUES = 150_000
_HINT = "Treat the node that wrote it as hostile"


class UnreadableManifest(VerificationError):
    """What is stored in the manifest's place is none."""


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it lies in the bucket."""

    data: bytes
    bundle: FinishedBundle


MAX_CONTAINERS = 256
"""Rows that a status has room for. A pod may have more containers; the manifest has all."""
MAX_SHOWN = 10
"""Gaps of a capture that its checkpoint's status tells; the others are counted."""
NOTHING = "it has nothing of any container"
"""How the one difference of a bundle begins that says why it has nothing of its pod."""
INTERRUPTED = "Interrupted"
"""The reason of what is missing because a collector was told to end."""


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What a decision or a status needs to know of a bundle: little, however large its manifest."""

    uid: str
    """Of the checkpoint that it is of, as it says itself."""
    attempt: int
    location: str
    manifest_sha256: str
    artifacts: int = 0
    bytes_read: int = 0
    bytes_stored: int = 0
    containers: tuple[Container, ...] = ()
    incomplete: frozenset[str] = frozenset()
    """Which of those lack something that was asked for."""
    gaps: int = 0
    """How much of what was asked for is missing."""
    gap_reason: str = ""
    """Of the first of those."""
    gap_lines: tuple[str, ...] = ()
    """The first of those, for people."""
    interrupted: bool = False
    """Whether a collector was told to end before it had everything."""
    started_at: datetime | None = None
    """When the collector began, and had stored the last artifact, by the node's clock."""
    finished_at: datetime | None = None
    documents: SmallDocuments = NO_DOCUMENTS
    """What of it is small enough for findings that a status tells."""


def evidence_of(bundle: FinishedBundle) -> BundleFacts:
    """Return what a bundle holds, as its manifest tells."""
    capture, order = bundle.statement.predicate, bundle.statement.predicate.order
    gaps = [gap for gap in capture.not_captured if gap.requested]
    names = frozenset(container.name for container in capture.containers)
    shown = [
        f"{gap.container + ': ' if gap.container else ''}{gap.what} ({gap.message})"
        for gap in gaps[:MAX_SHOWN]
    ]
    return BundleFacts(
        uid=str(order.uid),
        attempt=order.attempt,
        location=f"{order.destination.rstrip('/')}/{order.bundle}/",
        manifest_sha256=bundle.manifest_sha256,
        artifacts=len(capture.artifacts),
        bytes_read=sum(artifact.original_size for artifact in capture.artifacts),
        bytes_stored=sum(artifact.size for artifact in capture.artifacts),
        containers=capture.containers,
        incomplete=names.intersection(gap.container for gap in gaps),
        gaps=len(gaps),
        gap_reason=gaps[0].reason if gaps else "",
        gap_lines=tuple(shown),
        interrupted=any(gap.reason == INTERRUPTED for gap in gaps),
        started_at=capture.started_at,
        finished_at=capture.finished_at,
        documents=small_documents(bundle.statement),
    )


def container_statuses(
    evidence: BundleFacts, before: Sequence[ContainerStatus] = ()
) -> tuple[ContainerStatus, ...]:
    """Return what the manifest says became of each container, and those that were skipped."""
    told = {container.name for container in evidence.containers}
    left = [row for row in before if row.state is ContainerState.SKIPPED and row.name not in told]
    captured = [
        ContainerStatus(
            name=container.name,
            container_id=container.container_id,
            runtime=container.runtime,
            image=container.image,
            state=_state(container.result, container.name in evidence.incomplete),
            reason=container.reason,
        )
        for container in evidence.containers
    ]
    return (*captured, *left)[:MAX_CONTAINERS]


def _state(result: str, lacks: bool) -> ContainerState:
    """Return what became of a container; one that lacks something was not captured whole."""
    state = ContainerState(result)
    return ContainerState.PARTIAL if lacks and state is ContainerState.CAPTURED else state


class Manifests:
    """Reads manifests for all reconcilers."""

    def __init__(self) -> None:
        self._large = anyio.Lock()

    @asynccontextmanager
    async def find(
        self, store: ReadableStorage, sha256: str = ""
    ) -> AsyncIterator[StoredManifest | None]:
        """Yield the manifest, or None if there is none: the bundle is unfinished.

        Of several versions it is the one with this SHA-256, or else the first.

        Raises `UnreadableManifest` if what is there is no manifest, and `DestinationError` if
        nobody can tell now.
        """
        async with AsyncExitStack() as stack:
            try:
                version = await _version(store, sha256)
                data = await _read_small(store, version)
                if data is None:
                    await stack.enter_async_context(self._large)
                    data = await _read_large(store, version)
            except ObjectNotFound:
                data = None
            except TooManyObjects as error:
                raise UnreadableManifest(error.message, hint=_HINT) from error
            if data is None:
                yield None
            else:
                yield await aside(len(data), partial(parse_manifest, data))


async def _version(store: ReadableStorage, sha256: str) -> str | None:
    """Return which version of the manifest is meant; None where there is only the current one."""
    history = await history_of(store, MANIFEST) or []
    return await choose_manifest(store, history, sha256, limit=LIMIT)


async def _read_small(store: ReadableStorage, version: str | None) -> bytes | None:
    """Return a manifest that is not large, None for one that is."""
    data = bytearray()
    async with aclosing(store.read(MANIFEST, version)) as blocks:
        async for block in blocks:
            data += block
            if len(data) > SMALL:
                return None
    return bytes(data)


async def _read_large(store: ReadableStorage, version: str | None) -> bytes:
    try:
        return await read_small(store, MANIFEST, version, limit=LIMIT)
    except VerificationError as error:
        raise UnreadableManifest(error.message, hint=_HINT) from error


async def aside(size: int, work: Callable[[], T]) -> T:
    """Return what `work` does with `size` bytes of JSON: in a thread, where it takes its time."""
    return work() if size <= AT_ONCE else await to_thread.run_sync(work)


def parse_manifest(data: bytes) -> StoredManifest:
    """Parse a manifest. Raises `UnreadableManifest`. Blocks: run it in a thread."""
    check_shape(data, MAX_PARTS, MAX_VALUES)
    try:
        statement = Statement.from_bytes(data)
    except VerificationError as error:
        raise UnreadableManifest(error.message, hint=error.hint) from error
    names = Counter(container.name for container in statement.predicate.containers)
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise UnreadableManifest(f"{MANIFEST} names the container '{twice[0]}' twice", hint=_HINT)
    stored = StoredObject(MANIFEST, len(data))
    return StoredManifest(data, FinishedBundle(statement, hashlib.sha256(data).hexdigest(), stored))


def check_shape(data: bytes, parts: int, values: int) -> None:
    """Return if JSON of these bytes has so many parts and values at most.

    Raises `UnreadableManifest`.

    It looks at the bytes alone: a parser would already have made of them what it should not.
    """
    if data.count(b"{") + data.count(b"[") > parts or data.count(b",") > values:
        raise UnreadableManifest(
            f"JSON of {len(data)} bytes has more parts than any of ours", hint=_HINT
        )
