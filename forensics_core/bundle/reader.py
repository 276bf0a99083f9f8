"""Opening a bundle: its store, what lies there, and its manifest::

async with open_bundle("file:///cases/42") as bundle:
    for artifact in bundle.statement.predicate.artifacts:
        print(artifact.name, artifact.size)
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property

from anyio import to_thread

from forensics_core.bundle.expected import ExpectedObject, expected_objects
from forensics_core.bundle.layout import (
    CONTAINERS,
    CONTEXT,
    MANIFEST,
    NODE,
    ORDER,
    SEAL,
    SHA256SUMS,
)
from forensics_core.bundle.manifest import Statement
from forensics_core.bundle.versions import (
    choose_manifest,
    choose_sealed,
    history_of,
    version_to_read,
    written,
)
from forensics_core.errors import (
    AccessDenied,
    BundleNotFound,
    ObjectNotFound,
    TooManyObjects,
    UsageError,
    VerificationError,
)
from forensics_core.storage.objects import StoredObject
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.storage import ReadableStorage, open_storage, read_small

_OF_BUNDLES = (ORDER, CONTEXT, CONTAINERS, NODE)
"""What a bundle has before it has a manifest."""
MANIFEST_LIMIT = 16 * 1024 * 1024
"""Bytes that a manifest may have: thirty thousand artifacts, or hundreds with many remarks. The
operator seals none of more than 8 MiB."""


@dataclass(frozen=True)
class LocatedBundle:
    """A bundle whose manifest was read, but not yet understood."""

    store: ReadableStorage
    manifest: bytes
    """Exactly as stored: what the seal is over."""
    versions: dict[str, list[StoredObject]] | None
    """All that lies there, by name, each name's versions the oldest first; None where the identity
    may not list."""
    chosen: Mapping[str, str | None]
    """The version of the manifest, and of its seal where a key told which one that is."""
    crowded: str = field(default="", kw_only=True)
    """Why `versions` has only objects that every bundle has: somebody filled the place up."""

    @cached_property
    def manifest_sha256(self) -> str:
        """The manifest's SHA-256, in hexadecimal: it names the bundle for good."""
        return hashlib.sha256(self.manifest).hexdigest()

    def version_of(self, name: str, recorded: str | None) -> str | None:
        """Return the version that is the evidence; see `versions`."""
        if name in self.chosen:
            return self.chosen[name]
        return version_to_read((self.versions or {}).get(name, ()), recorded)

    def history(self, name: str) -> list[StoredObject]:
        """Return the versions of `name`, the oldest first, without delete markers."""
        return written((self.versions or {}).get(name, ()))


@dataclass(frozen=True)
class BundleReader(LocatedBundle):
    """An open bundle; made by `open_bundle`. Reading from it verifies nothing by itself."""

    statement: Statement
    ends: dict[str, bytes] = field(default_factory=dict, kw_only=True, compare=False)
    """The last bytes of objects, by name, as far as they were met as a copy elsewhere: not
    verified, like anything that is read of a part of an object. See `ends`."""

    @cached_property
    def objects(self) -> dict[str, ExpectedObject]:
        """What the manifest promises of every object, by name."""
        return {each.name: each for each in expected_objects(self.statement)}

    @property
    def url(self) -> str:
        """The bundle's URL, ending in `/`."""
        return self.store.url

    def stored_size(self, expected: ExpectedObject) -> int:
        """Return how many bytes to expect: as promised, or else as listed; 0 if nobody says."""
        if expected.size is not None:
            return expected.size
        return next((entry.size for entry in self.history(expected.name)), 0)

    @cached_property
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
        return self.read_range(name, 0, None)

    async def read_range(
        self, name: str, start: int, length: int | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of an object's bytes as stored."""
        version = self.sealed_version(name)
        try:
            async with aclosing(self.store.read_range(name, start, length, version)) as blocks:
                async for block in blocks:
                    yield block
            return
        except ObjectNotFound:
            # In a copy no version has the recorded name, and this one cannot be told from it.
            if version is None or not self.may_have_versions(name):
                raise
        async with aclosing(self.store.read_range(name, start, length)) as blocks:
            async for block in blocks:
                yield block

    def may_have_versions(self, name: str) -> bool:
        """Whether there may be versions of an object that this identity may not list."""
        return self.versions is None or not all(each.version_known for each in self.history(name))

    def sealed_version(self, name: str) -> str | None:
        """Return the version of an object that the manifest speaks of; None: the current one."""
        expected = self.objects.get(name)
        return self.version_of(name, expected.version_id if expected else None)


@asynccontextmanager
async def open_bundle(
    location: str,
    *,
    sha256: str = "",
    access: S3Access | None = None,
    limit: int = MANIFEST_LIMIT,
) -> AsyncIterator[BundleReader]:
    """Open the bundle at `location`: a folder's path or URL, or `s3://bucket/prefix`.

    `sha256`: its manifest's, where it is known, as from `status.manifestSHA256`; any other is
    refused. `limit`: bytes that its manifest may have; understanding it takes some ten times as
    much memory.

    Raises `BundleNotFound` where there is no manifest, `VerificationError` where it is none of
    ours, or another, and `DestinationError` where the place cannot be read.
    """
    async with locate(location, sha256=sha256, access=access, limit=limit) as located:
        require_sha256(located, sha256)
        yield await read_located(located)


def require_sha256(located: LocatedBundle, sha256: str) -> None:
    """Raise `VerificationError` unless the manifest is the one with this SHA-256; empty is any."""
    if sha256 and located.manifest_sha256 != sha256:
        raise VerificationError(
            f"{MANIFEST} at {located.store.url} has the SHA-256 {located.manifest_sha256}, "
            f"not {sha256}",
            hint="This is not the bundle that was captured; somebody replaced it",
        )


async def read_located(located: LocatedBundle) -> BundleReader:
    """Parse the manifest, in a thread. Raises `VerificationError`."""
    statement = await to_thread.run_sync(Statement.from_bytes, located.manifest)
    return BundleReader(
        located.store, located.manifest, located.versions, located.chosen, statement
    )


@asynccontextmanager
async def locate(
    location: str,
    *,
    sha256: str = "",
    key: bytes | None = None,
    access: S3Access | None = None,
    limit: int = MANIFEST_LIMIT,
) -> AsyncIterator[LocatedBundle]:
    """Open the store at `location` and read the manifest, whatever is in it.

    Of several versions `sha256` or the public `key`, in PEM, tells which one was sealed.
    """
    async with open_storage(location, access=access) as store:
        crowded = ""
        try:
            versions = await _versions(store)
        except TooManyObjects as error:
            versions, crowded = await _versions_of_ours(store), error.message
        chosen = await _choose(store, versions, sha256, key, limit)
        try:
            manifest = await read_small(store, MANIFEST, chosen[MANIFEST], limit=limit)
        except ObjectNotFound as error:
            raise _not_found(store, versions) from error
        yield LocatedBundle(store, manifest, versions, chosen, crowded=crowded)


async def _versions_of_ours(store: ReadableStorage) -> dict[str, list[StoredObject]]:
    """Return the versions of what every bundle has, where so much lies there that nobody lists it.

    The manifest names the versions of everything else: whoever may add objects keeps nobody from
    the evidence by adding many.
    """
    histories = {name: await history_of(store, name) for name in (MANIFEST, SEAL, SHA256SUMS)}
    return {name: history for name, history in histories.items() if history}


async def _versions(store: ReadableStorage) -> dict[str, list[StoredObject]] | None:
    versions: dict[str, list[StoredObject]] = {}
    try:
        for entry in await store.list():
            versions.setdefault(entry.name, []).append(entry)
    except AccessDenied:
        return None
    except ObjectNotFound as error:
        raise BundleNotFound(f"There is nothing at {store.url}", hint=error.hint) from error
    return versions


async def _choose(
    store: ReadableStorage,
    versions: dict[str, list[StoredObject]] | None,
    sha256: str,
    key: bytes | None,
    limit: int,
) -> dict[str, str | None]:
    """Return which version of the manifest is meant, and of its seal if that can be told."""
    if versions is None:
        return {MANIFEST: None}
    manifests = written(versions.get(MANIFEST, ()))
    if not manifests:
        raise _not_found(store, versions)
    if sha256:
        version = await choose_manifest(store, manifests, sha256, limit=limit)
        manifests = [entry for entry in manifests if entry.version_id == version]
    ambiguous = len(manifests) > 1 or len(written(versions.get(SEAL, ()))) > 1
    if key is not None and ambiguous:
        sealed = await choose_sealed(store, {**versions, MANIFEST: manifests}, key, limit=limit)
        if sealed:
            return sealed
    return {MANIFEST: manifests[0].version_id}


def _not_found(
    store: ReadableStorage, versions: dict[str, list[StoredObject]] | None
) -> BundleNotFound:
    below = _bundles_below(versions or {})
    if below:
        return BundleNotFound(
            f"{store.url} is not a bundle itself", hint=f"Beneath it there are: {', '.join(below)}"
        )
    if versions and not any(name.startswith(_OF_BUNDLES) for name in versions):
        return BundleNotFound(
            f"There is no bundle at {store.url}, but something else",
            hint=f"Name the folder that has {MANIFEST} in it",
        )
    if versions:
        return BundleNotFound(
            f"The bundle at {store.url} has no {MANIFEST}: it is unfinished",
            hint="Wait until the capture ends; if it has, its evidence is not complete",
        )
    return BundleNotFound(
        f"There is no bundle at {store.url}", hint="Check the location, and that it may be read"
    )


def _bundles_below(names: Sequence[str] | dict[str, list[StoredObject]]) -> list[str]:
    ending = f"/{MANIFEST}"
    found = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    return found if len(found) <= 3 else [*found[:3], f"and {len(found) - 3} more"]
