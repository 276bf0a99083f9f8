"""Opening a bundle: its store, what lies there, and its manifest::

async with open_bundle("file:///cases/42") as bundle:
    for artifact in bundle.statement.predicate.artifacts:
        print(artifact.name, artifact.size)
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property

from anyio import to_thread

from forensics_core.errors import AccessDenied, BundleNotFound, ObjectNotFound, UsageError
from forensics_core.evidence.expectation import Expectation, expectations
from forensics_core.evidence.layout import MANIFEST
from forensics_core.evidence.manifest import Statement
from forensics_core.evidence.store import Entry, Store, open_store, read_small
from forensics_core.export.s3.client import S3Access

MANIFEST_LIMIT = 64 * 1024 * 1024
"""Bytes that a manifest may have: hundreds of artifacts with a thousand remarks each."""


@dataclass(frozen=True)
class Located:
    """A bundle whose manifest was read, but not yet understood."""

    store: Store
    manifest: bytes
    """Exactly as stored: what the seal is over."""
    versions: dict[str, list[Entry]] | None
    """All that lies there, by name, each name's versions the oldest first; None where the identity
    may not list."""

    @cached_property
    def manifest_sha256(self) -> str:
        """The manifest's SHA-256, in hexadecimal: it names the bundle for good."""
        return hashlib.sha256(self.manifest).hexdigest()

    def version_of(self, name: str, recorded: str | None) -> str | None:
        """Return the version to read: the recorded one, or else the oldest that is there.

        The oldest, because evidence is written once; whatever came later is somebody else's.
        """
        there = self.history(name)
        known = {entry.version_id for entry in there}
        if self.versions is None or not known or recorded in known:
            return recorded
        return next(entry.version_id for entry in there)

    def history(self, name: str) -> list[Entry]:
        """Return the versions of `name`, the oldest first, without delete markers."""
        return [entry for entry in (self.versions or {}).get(name, ()) if not entry.deleted]


@dataclass(frozen=True)
class BundleReader(Located):
    """An open bundle; made by `open_bundle`. Reading from it verifies nothing by itself."""

    statement: Statement

    @cached_property
    def expectations(self) -> dict[str, Expectation]:
        """What the manifest promises of every object, by name."""
        return {each.name: each for each in expectations(self.statement)}

    @property
    def url(self) -> str:
        """The bundle's URL, ending in `/`."""
        return self.store.url

    def stored_size(self, expected: Expectation) -> int:
        """Return how many bytes to expect: as promised, or else as listed; 0 if nobody says."""
        if expected.size is not None:
            return expected.size
        return next((entry.size for entry in self.history(expected.name)), 0)

    @property
    def containers(self) -> list[str]:
        """The names of the captured containers, in order."""
        return sorted({each.name for each in self.statement.predicate.containers})

    def check_container(self, name: str) -> str:
        """Return `name` if the bundle has a container called so. Raises `UsageError`."""
        if name in self.containers:
            return name
        raise UsageError(
            f"The bundle has no container '{name}'", hint=f"It has: {', '.join(self.containers)}"
        )

    def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes as stored, in the version that the manifest recorded."""
        return self.store.read(name, self._version(name))

    def read_range(self, name: str, start: int, length: int | None) -> AsyncGenerator[bytes, None]:
        """Yield a range of an object's bytes as stored."""
        return self.store.read_range(name, start, length, self._version(name))

    def _version(self, name: str) -> str | None:
        expected = self.expectations.get(name)
        return self.version_of(name, expected.version_id if expected else None)


@asynccontextmanager
async def open_bundle(
    location: str, *, access: S3Access | None = None, limit: int = MANIFEST_LIMIT
) -> AsyncIterator[BundleReader]:
    """Open the bundle at `location`: a folder's path or URL, or `s3://bucket/prefix`.

    `limit`: bytes that its manifest may have; understanding it takes some ten times as much memory.

    Raises `BundleNotFound` where there is no manifest, `VerificationError` where it is none of
    ours, and `DestinationError` where the place cannot be read.
    """
    async with locate(location, access=access, limit=limit) as located:
        yield await understand(located)


async def understand(located: Located) -> BundleReader:
    """Parse the manifest, in a thread. Raises `VerificationError`."""
    statement = await to_thread.run_sync(Statement.from_bytes, located.manifest)
    return BundleReader(located.store, located.manifest, located.versions, statement)


@asynccontextmanager
async def locate(
    location: str, *, access: S3Access | None = None, limit: int = MANIFEST_LIMIT
) -> AsyncIterator[Located]:
    """Open the store at `location` and read the manifest, whatever is in it."""
    async with open_store(location, access=access) as store:
        versions = await _versions(store)
        first = _first_manifest(store, versions)
        try:
            manifest = await read_small(store, MANIFEST, first, limit=limit)
        except ObjectNotFound as error:
            raise _not_found(store, versions) from error
        yield Located(store, manifest, versions)


async def _versions(store: Store) -> dict[str, list[Entry]] | None:
    versions: dict[str, list[Entry]] = {}
    try:
        for entry in await store.list():
            versions.setdefault(entry.name, []).append(entry)
    except AccessDenied:
        return None
    except ObjectNotFound as error:
        raise BundleNotFound(f"There is nothing at {store.url}", hint=error.hint) from error
    return versions


def _first_manifest(store: Store, versions: dict[str, list[Entry]] | None) -> str | None:
    """Return the version of the first manifest; nothing if the current one must do."""
    if versions is None:
        return None
    for entry in versions.get(MANIFEST, ()):
        if not entry.deleted:
            return entry.version_id
    raise _not_found(store, versions)


def _not_found(store: Store, versions: dict[str, list[Entry]] | None) -> BundleNotFound:
    below = _bundles_below(versions or {})
    if below:
        return BundleNotFound(
            f"{store.url} is no bundle itself", hint=f"Beneath it there are: {', '.join(below)}"
        )
    if versions:
        return BundleNotFound(
            f"The bundle at {store.url} has no {MANIFEST}: it is unfinished",
            hint="Wait until the capture ends; if it has, its evidence is not complete",
        )
    return BundleNotFound(
        f"There is no bundle at {store.url}", hint="Check the location, and that it may be read"
    )


def _bundles_below(names: Sequence[str] | dict[str, list[Entry]]) -> list[str]:
    ending = f"/{MANIFEST}"
    found = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    return found if len(found) <= 3 else [*found[:3], f"and {len(found) - 3} more"]
