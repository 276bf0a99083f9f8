"""What vouches for a bundle: every object is stored as its manifest says, and the seal over that.

The manifest is hostile input. It is sealed only once it was compared with its order, and if every
object that it names is stored with the size and the checksum that it gives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Set
from dataclasses import dataclass
from functools import partial

from anyio import to_thread

from forensics_core._internal.tasks import task_group
from forensics_core.api.order import WorkOrder
from forensics_core.bundle.layout import SEAL, SHA256SUMS
from forensics_core.bundle.manifest import Statement
from forensics_core.bundle.seal import public_key_of, sign, verify_seal
from forensics_core.bundle.versions import (
    SEAL_ROOM,
    find_seal,
    history_of,
    version_to_read,
)
from forensics_core.errors import (
    DestinationError,
    DestinationUnreachable,
    ObjectExists,
    ObjectNotFound,
    TooManyObjects,
    VerificationError,
)
from forensics_core.operator.manifest import check_shape
from forensics_core.operator.storage import digest_of
from forensics_core.storage.objects import StoredObject
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.storage import read_small

HEADS_AT_ONCE = 8
MOST_WRONG = 50
"""Objects that are not as promised after which no others are looked at."""
MOST_READ = 16 * 1024 * 1024
"""Bytes of an object that is read to compare its content."""
SEAL_PARTS = 100
"""Parts that the JSON of a seal may have."""


async def is_there(store: S3Storage, name: str) -> bool:
    """Return whether there is an object of that name."""
    try:
        await store.stat(name)
    except ObjectNotFound:
        return False
    return True


async def check_objects(store: S3Storage, statement: Statement, order: WorkOrder) -> list[str]:
    """Return objects that are missing, or stored with another size, checksum or content.

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
    """Whether its checksum has to be promised if the store has one."""


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


async def _listed(store: S3Storage, names: Set[str]) -> _Listed | None:
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
            listed[entry.name, entry.version_id] = entry
            # The oldest comes first: readers take it where no version is recorded.
            listed.setdefault((entry.name, None), entry)
    return listed


async def _compare(
    store: S3Storage, promised: _Promised, listed: _Listed | None
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
        yield f"{promised.name} is stored with another checksum"
    if digest != promised.sha256 or (promised.etag and stored.etag != promised.etag):
        yield f"{promised.name} is stored with another content"


async def _find(store: S3Storage, promised: _Promised, listed: _Listed | None) -> StoredObject:
    """Return what is stored; ask for the object itself only if its checksum is to be compared."""
    found = (listed or {}).get((promised.name, promised.version_id))
    if found is None:
        # A listing may not tell versions; the object itself does.
        return await store.stat(promised.name, promised.version_id)
    return await store.stat(promised.name, found.version_id) if promised.summed else found


async def _digest(store: S3Storage, promised: _Promised, stored: StoredObject) -> str | None:
    """Return the SHA-256 of an object whose content is to be compared, unless it is too large."""
    if promised.sha256 is None or stored.size > MOST_READ:
        return None
    return (await digest_of(store, promised.name, stored.version_id))[0]


async def seal_bundle(
    destination: S3Storage, store: S3Storage, manifest: bytes, private_key: bytes
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


async def check_seal(store: S3Storage, manifest: bytes, private_key: bytes) -> None:
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
