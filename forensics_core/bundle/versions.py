"""Which version of an object is the evidence: one rule for operator, readers and bot.

Everything in a bundle is written once. Where a bucket has versions, whoever may add objects can add
later ones, so the current version says nothing:

- the manifest is the version whose SHA-256 is known (the operator keeps it in
  `status.manifestSHA256`), or the one that a seal holds for under the key that is given;
- every other object is read in the version that the manifest recorded;
- where nothing is known or recorded, the version that was written first counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from anyio import to_thread

from forensics_core.bundle.layout import MANIFEST, SEAL
from forensics_core.bundle.seal import verify_seal
from forensics_core.errors import (
    DestinationError,
    DestinationUnreachable,
    ObjectNotFound,
    TooManyObjects,
    VerificationError,
)
from forensics_core.storage.objects import StoredObject
from forensics_core.storage.storage import ReadableStorage, read_small

MAX_LOOKED_AT = 16
"""Versions of one object that are looked at, the first ones: whatever comes after so many was added
by somebody else, and each may cost a download."""
SEAL_ROOM = 4096
"""Bytes of a seal beside the manifest within it, which is in base64."""

History = Mapping[str, Sequence[StoredObject]]
"""Each object's versions, the oldest first, delete markers included."""


def written(versions: Sequence[StoredObject]) -> list[StoredObject]:
    """Return the versions that have content: those that are no delete markers."""
    return [entry for entry in versions if not entry.deleted]


def version_to_read(versions: Sequence[StoredObject], recorded: str | None) -> str | None:
    """Return the version of an object that is the evidence; None means the current one.

    It is the recorded one, or the first where that is not among `versions`, as in a copy. Where
    versions may not be listed, the recorded one is all there is to go by.
    """
    there = written(versions)
    known = {entry.version_id for entry in there}
    if not there or (recorded is not None and recorded in known):
        return recorded
    return there[0].version_id if there[0].version_known else recorded


async def history_of(store: ReadableStorage, name: str) -> list[StoredObject] | None:
    """Return the versions of one object; None where they may not be listed.

    Raises `DestinationUnreachable`, and `TooManyObjects`: which one is the first is not known then.
    """
    try:
        return await store.list(name, only={name})
    except (DestinationUnreachable, TooManyObjects):
        raise
    except DestinationError:
        return None


async def choose_manifest(
    store: ReadableStorage, versions: Sequence[StoredObject], sha256: str, *, limit: int
) -> str | None:
    """Return the version of the manifest that has this SHA-256, or else the first.

    Nothing is held meanwhile: a manifest may have `limit` bytes. Whoever wants the digest to hold
    compares it again with what was read.
    """
    there = written(versions)
    if sha256 and len(there) > 1:
        for entry in there[:MAX_LOOKED_AT]:
            if entry.size <= limit and await _has_digest(store, entry, sha256):
                return entry.version_id
    return version_to_read(versions, None)


async def choose_sealed(
    store: ReadableStorage, history: History, key: bytes, *, limit: int
) -> dict[str, str | None]:
    """Return the versions of manifest and seal that belong together under `key`; empty if none do.

    Raises `UsageError` for an unusable key.
    """
    for entry in written(history.get(MANIFEST, ()))[:MAX_LOOKED_AT]:
        seals = [seal for seal in history.get(SEAL, ()) if _may_hold(seal, entry)]
        if not seals or (manifest := await _read(store, entry, limit)) is None:
            continue
        holds = partial(verify_seal, manifest=manifest, public_key_pem=key)
        found = await find_seal(store, seals, holds, limit=2 * limit)
        if found is not None:
            return {MANIFEST: entry.version_id, SEAL: found.version_id}
    return {}


async def find_seal(
    store: ReadableStorage,
    versions: Sequence[StoredObject],
    holds: Callable[[bytes], None],
    *,
    limit: int,
) -> StoredObject | None:
    """Return the first version of the seal for which `holds` raises no `VerificationError`."""
    for entry in written(versions)[:MAX_LOOKED_AT]:
        seal = await _read(store, entry, limit)
        if seal is not None and await _accepts(holds, seal):
            return entry
    return None


async def _accepts(holds: Callable[[bytes], None], seal: bytes) -> bool:
    try:
        await to_thread.run_sync(holds, seal)
    except VerificationError:
        return False
    return True


def _may_hold(seal: StoredObject, manifest: StoredObject) -> bool:
    """Whether a seal has about the size that one over this manifest has."""
    return 0 <= seal.size - manifest.size * 4 // 3 <= SEAL_ROOM


async def _read(store: ReadableStorage, entry: StoredObject, limit: int) -> bytes | None:
    """Return a version's content, or None if it went away, or is larger than any of ours."""
    try:
        return await read_small(store, entry.name, entry.version_id, limit=limit)
    except (ObjectNotFound, VerificationError):
        return None


async def _has_digest(store: ReadableStorage, entry: StoredObject, sha256: str) -> bool:
    digest = hashlib.sha256()
    try:
        async with aclosing(store.read(entry.name, entry.version_id)) as blocks:
            async for block in blocks:
                digest.update(block)
    except ObjectNotFound:
        return False
    return digest.hexdigest() == sha256
