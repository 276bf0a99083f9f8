"""From a manifest that a node wrote to a seal that vouches for it.

The manifest is hostile input. It is sealed only if it says exactly what the order asked, and if
every object that it names is stored with the size and the check sum that it gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import anyio
from anyio import to_thread

from forensics_core.api.order import WorkOrder
from forensics_core.errors import (
    DestinationError,
    DestinationUnreachable,
    ObjectExists,
    ObjectNotFound,
    VerificationError,
)
from forensics_core.evidence.bundle import Sealable
from forensics_core.evidence.expectation import contradictions
from forensics_core.evidence.layout import MANIFEST, SEAL, SHA256SUMS
from forensics_core.evidence.manifest import Statement
from forensics_core.evidence.reader import MANIFEST_LIMIT
from forensics_core.evidence.s3_store import S3Store
from forensics_core.evidence.seal import public_key_of, sign, verify_seal
from forensics_core.evidence.store import read_small
from forensics_core.export.destination import StoredObject
from forensics_core.export.s3.destination import S3Destination
from forensics_core.tasks import task_group

HEADS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest as it lies in the bucket."""

    data: bytes
    bundle: Sealable


async def find_manifest(store: S3Store) -> Found | None:
    """Return the manifest, or None if there is none: the bundle is unfinished.

    Raises `VerificationError` if what is there is no manifest, and `DestinationError` if nobody
    can tell now.
    """
    try:
        data = await read_small(store, MANIFEST, limit=MANIFEST_LIMIT)
    except ObjectNotFound:
        return None
    digest = hashlib.sha256(data).hexdigest()
    stored = StoredObject(MANIFEST, len(data))
    return Found(data, Sealable(Statement.from_bytes(data), digest, stored))


def disagreements(statement: Statement, order: WorkOrder, order_sha256: str) -> Iterator[str]:
    """Yield each way in which a manifest is not the one that was ordered."""
    capture = statement.predicate
    wanted = {
        "order.uid": (capture.order.uid, order.uid),
        "order.attempt": (capture.order.attempt, order.attempt),
        "order.sha256": (capture.order.sha256, order_sha256),
        "order.destination": (capture.order.destination, order.destination),
        "order.bundle": (capture.order.bundle, order.bundle),
        "pod": (capture.pod, order.pod),
        "requester": (capture.requester, order.requester),
        "reason": (capture.reason, order.reason),
        "incident": (capture.incident, order.incident),
    }
    yield from (f"{name} differs from the order" for name, (a, b) in wanted.items() if a != b)
    yield from (f"{problem.name}: {problem.message}" for problem in contradictions(statement))
    subjects = {subject.name: subject.digest.sha256 for subject in statement.subject}
    for file in order.context:
        if subjects.get(file.name) != file.sha256:
            yield f"{file.name} differs from what the operator stored"
    ordered = {target.container_id for target in order.targets}
    for container in capture.containers:
        if container.container_id not in ordered:
            yield f"the container {container.container_id} was not ordered"
    told = {container.container_id for container in capture.containers}
    for target in order.targets:
        if target.container_id not in told:
            yield f"nothing is said of the container {target.name}"


async def check_objects(store: S3Store, statement: Statement, order: WorkOrder) -> list[str]:
    """Return each object that is missing, or stored with another size or check sum."""
    wrong: list[str] = []
    places = anyio.Semaphore(HEADS_AT_ONCE)

    async def look(promised: _Promised) -> None:
        async with places:
            wrong.extend([why async for why in _compare(store, promised, listed)])

    listed = await _listed(store)
    async with task_group() as tasks:
        for promised in _promised(statement, order):
            tasks.start_soon(look, promised)
    return sorted(wrong)


@dataclass(frozen=True, slots=True)
class _Promised:
    """One object as it should be stored; None where nobody knows."""

    name: str
    size: int | None = None
    version_id: str | None = None
    crc64nvme: str | None = None


def _promised(statement: Statement, order: WorkOrder) -> Iterator[_Promised]:
    for artifact in statement.predicate.artifacts:
        yield _Promised(artifact.name, artifact.size, artifact.version_id, artifact.crc64nvme)
    for file in order.context:
        yield _Promised(file.name, file.size, file.version_id)
    yield _Promised(SHA256SUMS)


_Listed = dict[tuple[str, str | None], StoredObject]


async def _listed(store: S3Store) -> _Listed | None:
    """Return everything that is stored, by name and version, or None where that cannot be listed.

    The version None is the one that a reader gets who names none.
    """
    try:
        entries = await store.list()
    except DestinationUnreachable:
        raise
    except DestinationError:
        return None
    listed: _Listed = {}
    for entry in entries:
        if not entry.deleted:
            found = StoredObject(entry.name, entry.size, version_id=entry.version_id)
            listed[entry.name, entry.version_id] = found
            if entry.latest:
                listed[entry.name, None] = found
    return listed


async def _compare(
    store: S3Store, promised: _Promised, listed: _Listed | None
) -> AsyncIterator[str]:
    try:
        stored = await _find(store, promised, listed)
    except ObjectNotFound:
        yield f"{promised.name} is not stored"
        return
    if promised.size is not None and stored.size != promised.size:
        yield f"{promised.name} is stored with {stored.size} bytes, not {promised.size}"
    sums = {stored.crc64nvme, promised.crc64nvme} - {None}
    if len(sums) > 1:
        yield f"{promised.name} is stored with another check sum"


async def _find(store: S3Store, promised: _Promised, listed: _Listed | None) -> StoredObject:
    """Return what is stored; ask for the object itself only if its check sum is to be compared."""
    if listed is None or promised.crc64nvme is not None:
        return await store.stat(promised.name, promised.version_id)
    found = listed.get((promised.name, promised.version_id))
    if found is None:
        raise ObjectNotFound(f"{promised.name} is not there, or not in this version")
    return found


async def seal_bundle(
    destination: S3Destination, store: S3Store, manifest: bytes, private_key: bytes
) -> None:
    """Sign the manifest and store the seal beside it.

    A seal that is there already is kept if it is ours: a crash came between writing it and saying
    so. Anything else there was put by somebody who has no key. Raises `VerificationError` then.
    """
    seal = await to_thread.run_sync(sign, manifest, private_key)
    try:
        async with destination.create(SEAL, content_type="application/json") as writer:
            await writer.write(seal)
            await writer.commit()
    except ObjectExists:
        there = await read_small(store, SEAL, limit=2 * MANIFEST_LIMIT)
        verify_seal(there, manifest, public_key_of(private_key))


async def is_sealed(store: S3Store, manifest: bytes, private_key: bytes) -> bool:
    """Return whether a seal of ours over exactly this manifest is stored."""
    try:
        there = await read_small(store, SEAL, limit=2 * MANIFEST_LIMIT)
        verify_seal(there, manifest, public_key_of(private_key))
    except (ObjectNotFound, VerificationError):
        return False
    return True
