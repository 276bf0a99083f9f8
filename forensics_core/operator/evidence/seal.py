"""What vouches for a bundle: every object is stored as its manifest says, and the seal over that.

The manifest is hostile input. It is sealed only once it was compared with its order, and if every
object that it names is stored with the size and the checksum that it gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from anyio import to_thread

from forensics_core.api.order import WorkOrder
from forensics_core.bundle.expected import ExpectedObject, expected_objects
from forensics_core.bundle.layout import CONTEXT, SEAL
from forensics_core.bundle.manifest import Statement
from forensics_core.bundle.object_checks import check_stored
from forensics_core.bundle.seal import public_key_of, sign, verify_seal
from forensics_core.bundle.versions import (
    SEAL_ROOM,
    find_seal,
    history_of,
    version_to_read,
)
from forensics_core.errors import ObjectExists, TooManyObjects, VerificationError
from forensics_core.operator.evidence.manifest import aside, check_shape
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.storage import read_small

HEADS_AT_ONCE = 8
MAX_WRONG = 50
"""Objects that are not as promised after which no others are looked at."""
SEAL_PARTS = 100
"""Parts that the JSON of a seal may have."""


async def check_objects(store: S3Storage, statement: Statement, order: WorkOrder) -> list[str]:
    """Return objects that are missing, or stored with another size, checksum or content.

    After `MAX_WRONG` it looks no further: a manifest can name many objects.
    """
    expected = [*_context(order), *_collected(statement)]
    try:
        problems = await check_stored(store, expected, at_once=HEADS_AT_ONCE, most_wrong=MAX_WRONG)
    except TooManyObjects as error:
        return [error.message]
    return sorted(f"{problem.name} {problem.message}" for problem in problems)


def _context(order: WorkOrder) -> Iterator[ExpectedObject]:
    """Yield what the operator itself stored: it knows more of it than the manifest says."""
    for file in order.context:
        yield ExpectedObject(file.name, file.sha256, file.size, file.version_id, etag=file.etag)


def _collected(statement: Statement) -> Iterator[ExpectedObject]:
    """Yield what the collector stored: all but the context."""
    for each in expected_objects(statement):
        if not each.name.startswith(CONTEXT):
            yield each


async def seal_bundle(
    destination: S3Storage, store: S3Storage, manifest: bytes, private_key: bytes
) -> None:
    """Sign the manifest and store the seal beside it.

    A seal that is there already is kept if it is ours: a crash came between writing it and saying
    so. Anything else there was put by somebody who has no key. Raises `VerificationError` then.
    """
    seal = await aside(len(manifest), partial(sign, manifest, private_key))
    try:
        await destination.put(SEAL, seal, content_type="application/json")
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
