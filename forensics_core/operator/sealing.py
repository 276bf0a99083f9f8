"""From a manifest that a node wrote to a seal that vouches for it.

The manifest is hostile input. It is sealed only if it says exactly what the order asked, and if
every object that it names is stored with the size and the check sum that it gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from anyio import to_thread

from forensics_core._internal.tasks import task_group
from forensics_core.api.order import WorkOrder
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from forensics_core.bundle.expected import contradictions
from forensics_core.bundle.layout import (
    CONTAINERS,
    CONTEXT,
    ORDER,
    SEAL,
    SHA256SUMS,
    container_file,
)
from forensics_core.bundle.manifest import Capture, Statement
from forensics_core.bundle.seal import public_key_of, sign, verify_seal
from forensics_core.bundle.versions import (
    SEAL_ROOM,
    find_seal,
    history_of,
    version_to_read,
)
from forensics_core.bundle.writer import check_sums
from forensics_core.errors import (
    DestinationError,
    DestinationUnreachable,
    ObjectExists,
    ObjectNotFound,
    TooManyObjects,
    VerificationError,
)
from forensics_core.operator.completeness import nothing_of, omissions
from forensics_core.operator.desk import Desk
from forensics_core.operator.manifests import Found, check_shape
from forensics_core.operator.storage import digest_of
from forensics_core.storage.destination import StoredObject
from forensics_core.storage.s3.destination import S3Destination
from forensics_core.storage.s3_store import S3Store
from forensics_core.storage.store import read_small

HEADS_AT_ONCE = 8
MOST_WRONG = 50
"""Objects that are not as promised after which no others are looked at."""
MOST_READ = 16 * 1024 * 1024
"""Bytes of an object that is read to compare its content."""
SEAL_PARTS = 100
"""Parts that the JSON of a seal may have."""


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
    yield from foreign_parts(statement, order, order_sha256)
    yield from misplaced(capture, order)
    ordered = {(target.name, target.container_id) for target in order.targets}
    told = {(container.name, container.container_id) for container in capture.containers}
    for name, container_id in sorted(told - ordered):
        yield f"the container {name}, {container_id}, was not ordered"
    for name, _ in sorted(ordered - told):
        yield f"nothing is said of the container {name}"
    yield from omissions(capture, order)


def foreign_parts(statement: Statement, order: WorkOrder, order_sha256: str) -> Iterator[str]:
    """Yield each subject that is not the collector's to name, or not what the operator knows of it.

    What the cluster said is told by the operator alone: a node that could add a file to it, in the
    place of one that could not be gathered, would speak with the operator's voice.
    """
    subjects = {subject.name: subject.digest.sha256 for subject in statement.subject}
    stored = {file.name: file.sha256 for file in order.context}
    for name in sorted(name for name in subjects if name.startswith(CONTEXT)):
        if name not in stored:
            yield f"{name} was not stored by the operator"
    for name, sha256 in stored.items():
        if subjects.get(name) != sha256:
            yield f"{name} differs from what the operator stored"
    if subjects.get(ORDER, order_sha256) != order_sha256:
        yield f"{ORDER} is not the order"
    listed = subjects.pop(SHA256SUMS, None)
    if listed is None:
        yield f"{SHA256SUMS} is not among the subjects"
    elif listed != hashlib.sha256(check_sums(subjects)).hexdigest():
        yield f"{SHA256SUMS} does not list the subjects"


def misplaced(capture: Capture, order: WorkOrder) -> Iterator[str]:
    """Yield each artifact of a container that was not ordered, or outside its container's folder.

    Readers go by both, and would show it as that container's.
    """
    folders = {target.name: container_file(target.name, "") for target in order.targets}
    for artifact in capture.artifacts:
        folder = folders.get(artifact.container or "", CONTAINERS)
        if artifact.container is not None and artifact.container not in folders:
            yield f"{artifact.name} is of the container {artifact.container}, which was not ordered"
        elif artifact.name.startswith(folder) == (artifact.container is None):
            yield f"{artifact.name} is not in the folder of the container that it is of"


async def differences(
    desk: Desk, checkpoint: PodCheckpoint, found: Found, order: WorkOrder, order_sha256: str
) -> list[str]:
    """Return each way in which an attempt's bundle is not what was ordered, or not what it says.

    `checkpoint` is as it was at that attempt. Raises what the destination raises.
    """
    statement = found.bundle.statement
    period = _period(checkpoint, desk.settings.clock_skew_seconds, datetime.now(UTC))

    def compare() -> list[str]:
        wrong = disagreements(statement, order, order_sha256)
        return [*wrong, *untimely(statement.predicate, *period)]

    wrong = await to_thread.run_sync(compare)
    if wrong:
        return wrong
    store = await desk.reader(checkpoint)
    if checkpoint.status.phase is not Phase.SEALING and await _is_there(store, SEAL):
        # Found later, when the pod is killed already, it would leave the evidence without ours.
        return [f"{SEAL} was written before the operator sealed anything"]
    return await check_objects(store, statement, order) or nothing_of(statement.predicate, order)


async def _is_there(store: S3Store, name: str) -> bool:
    try:
        await store.stat(name)
    except ObjectNotFound:
        return False
    return True


def _period(checkpoint: PodCheckpoint, skew: int, now: datetime) -> tuple[datetime, datetime]:
    """Return when an attempt can have been made, by a node whose clock is wrong by `skew` s."""
    allowed = timedelta(seconds=skew)
    return (checkpoint.status.start_time or now) - allowed, now + allowed


def untimely(capture: Capture, begin: datetime, end: datetime) -> Iterator[str]:
    """Yield each time of a capture that does not lie between `begin` and `end`."""
    times = {"startedAt": capture.started_at, "finishedAt": capture.finished_at}
    for artifact in capture.artifacts:
        times[f"{artifact.name}, startedAt"] = artifact.started_at
        times[f"{artifact.name}, finishedAt"] = artifact.finished_at
    for name, time in times.items():
        if not begin <= _aware(time) <= end:
            yield f"{name} is {time.isoformat()}, not within the attempt"


def _aware(time: datetime) -> datetime:
    """Return a time that can be compared; one without a zone says nothing, and counts as none."""
    return time if time.tzinfo else datetime.min.replace(tzinfo=UTC)


async def check_objects(store: S3Store, statement: Statement, order: WorkOrder) -> list[str]:
    """Return objects that are missing, or stored with another size, check sum or content.

    After `MOST_WRONG` it looks no further: a manifest can name many objects.
    """
    wrong: list[str] = []
    names = {one.name for one in _promised(statement, order)}
    try:
        listed = await _listed(store, names)
    except TooManyObjects as error:
        return [error.message]
    promised = _promised(statement, order)

    async def look() -> None:
        while len(wrong) < MOST_WRONG and (one := next(promised, None)) is not None:
            wrong.extend([why async for why in _compare(store, one, listed)])

    async with task_group() as tasks:
        for _ in range(HEADS_AT_ONCE):
            tasks.start_soon(look)
    return sorted(wrong)


@dataclass(frozen=True, slots=True)
class _Promised:
    """One object as it should be stored; None where nobody knows."""

    name: str
    size: int | None = None
    version_id: str | None = None
    crc64nvme: str | None = None
    sha256: str | None = None
    """Of small ones that are to be read."""
    etag: str | None = None
    summed: bool = False
    """Whether its check sum has to be promised if the store has one."""


def _promised(statement: Statement, order: WorkOrder) -> Iterator[_Promised]:
    for file in order.context:
        # Neither a version nor a tag survives another content. What has none of them is read back.
        digest = None if file.version_id or file.etag else file.sha256
        yield _Promised(file.name, file.size, file.version_id, sha256=digest, etag=file.etag)
    for subject in statement.subject:
        if subject.name == SHA256SUMS:
            yield _Promised(SHA256SUMS, sha256=subject.digest.sha256)
    for artifact in statement.predicate.artifacts:
        yield _Promised(
            artifact.name, artifact.size, artifact.version_id, artifact.crc64nvme, summed=True
        )


_Listed = dict[tuple[str, str | None], StoredObject]


async def _listed(store: S3Store, names: Set[str]) -> _Listed | None:
    """Return what is stored of these, by name and version, or None where that cannot be listed.

    The version None is the one that readers take where the manifest names none.
    """
    try:
        entries = await store.list(only=names)
    except (DestinationUnreachable, TooManyObjects):
        raise
    except DestinationError:
        return None
    listed: _Listed = {}
    for entry in entries:
        if not entry.deleted:
            found = StoredObject(
                entry.name, entry.size, version_id=entry.version_id, etag=entry.etag
            )
            listed[entry.name, entry.version_id] = found
            # The oldest comes first: readers take it where no version is recorded.
            listed.setdefault((entry.name, None), found)
    return listed


async def _compare(
    store: S3Store, promised: _Promised, listed: _Listed | None
) -> AsyncIterator[str]:
    try:
        stored = await _find(store, promised, listed)
        digest = await _digest(store, promised, stored)
    except ObjectNotFound:
        yield f"{promised.name} is not stored"
        return
    except DestinationError as error:
        if type(error) is not DestinationError:
            raise
        # Its name or version is none that the store could have: asking again helps nobody.
        yield f"{promised.name} cannot be stored there"
        return
    if promised.size is not None and stored.size != promised.size:
        yield f"{promised.name} is stored with {stored.size} bytes, not {promised.size}"
    if promised.summed and stored.crc64nvme not in {None, promised.crc64nvme}:
        yield f"{promised.name} is stored with another check sum"
    if digest != promised.sha256 or (promised.etag and stored.etag != promised.etag):
        yield f"{promised.name} is stored with another content"


async def _find(store: S3Store, promised: _Promised, listed: _Listed | None) -> StoredObject:
    """Return what is stored; ask for the object itself only if its check sum is to be compared."""
    found = (listed or {}).get((promised.name, promised.version_id))
    if found is None:
        # A listing may not tell versions; the object itself does.
        return await store.stat(promised.name, promised.version_id)
    return await store.stat(promised.name, found.version_id) if promised.summed else found


async def _digest(store: S3Store, promised: _Promised, stored: StoredObject) -> str | None:
    """Return the SHA-256 of an object whose content is to be compared, unless it is too large."""
    if promised.sha256 is None or stored.size > MOST_READ:
        return None
    return (await digest_of(store, promised.name, stored.version_id))[0]


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
        await check_seal(store, manifest, private_key)


async def check_seal(store: S3Store, manifest: bytes, private_key: bytes) -> None:
    """Return if a seal of ours over exactly this manifest is stored.

    Raises `VerificationError` if it is not, and `ObjectNotFound`.
    """
    largest = len(manifest) * 4 // 3 + SEAL_ROOM
    check = partial(_check_seal, manifest=manifest, private_key=private_key)
    try:
        history = await history_of(store, SEAL) or []
    except TooManyObjects as error:
        raise VerificationError(error.message, hint=error.hint) from error
    if await find_seal(store, history, check, limit=largest) is None:
        there = await read_small(store, SEAL, version_to_read(history, None), limit=largest)
        await to_thread.run_sync(check, there)


def _check_seal(seal: bytes, manifest: bytes, private_key: bytes) -> None:
    check_shape(seal, SEAL_PARTS, SEAL_PARTS)
    verify_seal(seal, manifest, public_key_of(private_key))
