"""Evidence, read as the reader's identity: download links, rows of the table, verification."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import anyio
from anyio import to_thread

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.identity import EvidenceIdentity
from forensics_core.bundle.manifest import Artifact
from forensics_core.bundle.object_checks import check_object, discard
from forensics_core.bundle.reader import BundleReader, open_bundle
from forensics_core.bundle.seal import key_hint
from forensics_core.bundle.verification import Verification
from forensics_core.bundle.verify import verify
from forensics_core.errors import UsageError, VerificationError
from forensics_core.storage.locate import S3Location, parse_location
from forensics_core.storage.s3.client import S3Access, s3_client
from forensics_core.storage.s3.storage import S3Storage
from slackbot.blocks.answers import DownloadLink
from slackbot.errors import UserMessage
from slackbot.settings import ReaderSettings


class EvidenceReader:
    """Reads bundles. Errors are `DestinationError` and the like."""

    def __init__(self, reader: ReaderSettings) -> None:
        self._reader = reader
        self._access = S3Access(endpoint_url=reader.endpoint, region=reader.region)
        # Verification reads all of a bundle, which takes bandwidth and a processor for minutes.
        self._verifying = anyio.CapacityLimiter(1)

    def _open(self, checkpoint: PodCheckpoint) -> AbstractAsyncContextManager[BundleReader]:
        """Open the bundle whose manifest the operator saw, and no other that lies there now."""
        status = checkpoint.status
        sha256 = status.manifest_sha256
        return open_bundle(
            status.location, sha256=sha256, access=self._access, limit=self._reader.manifest_bytes
        )

    async def artifacts(self, checkpoint: PodCheckpoint) -> tuple[Artifact, ...]:
        """Return what the manifest lists."""
        async with self._open(checkpoint) as bundle:
            return bundle.statement.predicate.artifacts

    async def links(self, checkpoint: PodCheckpoint) -> list[DownloadLink]:
        """Return an address for every artifact, of the version that was sealed, good for
        `link_seconds`."""
        location = parse_location(checkpoint.status.location)
        if not isinstance(location, S3Location):
            return []
        async with self._open(checkpoint) as bundle, s3_client(self._access) as client:
            return [await self._link(client, location, bundle, name) for name in bundle.objects]

    async def _link(
        self, client: Any, location: S3Location, bundle: BundleReader, name: str
    ) -> DownloadLink:
        expected = bundle.objects[name]
        where = {"Bucket": location.bucket, "Key": location.key(name)}
        version = bundle.sealed_version(name)
        # Without a version the link would lead to whatever is the latest one when it is opened.
        if version is None and bundle.may_have_versions(name):
            version = await _pinned(bundle, expected)
        if version:
            where["VersionId"] = version
        url = await client.generate_presigned_url(
            "get_object", Params=where, ExpiresIn=self._reader.link_seconds
        )
        return DownloadLink(name, bundle.stored_size(expected), expected.sha256, url)

    @property
    def link_minutes(self) -> int:
        """How long links are good."""
        return max(1, self._reader.link_seconds // 60)

    async def verify(self, checkpoint: PodCheckpoint) -> Verification:
        """Read everything again, and compare it with what the operator captured.

        One at a time: raises `UserMessage` while another is being read.
        """
        status = checkpoint.status
        wanted = EvidenceIdentity(
            namespace=checkpoint.target_namespace,
            pod=checkpoint.spec.pod,
            uid=checkpoint.metadata.uid or "",
            incident=checkpoint.spec.incident,
            manifest_sha256=status.manifest_sha256,
        )
        try:
            # Nobody queues: who clicks again later reads what is there then.
            self._verifying.acquire_nowait()
        except anyio.WouldBlock as error:
            raise UserMessage("error.busy") from error
        try:
            key = await read_key(self._reader)
            return await verify(status.location, key=key, wanted=wanted, access=self._access)
        finally:
            self._verifying.release()


async def read_key(reader: ReaderSettings | None) -> bytes | None:
    """Return the public key that seals are checked with, None if none is set.

    Raises `UsageError` where it cannot be read, or is none.
    """
    path = reader.public_key if reader else None
    if path is None:
        return None
    try:
        key = await anyio.Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"The public key {path} cannot be read: {error.strerror}",
            hint="Mount it, or correct reader.publicKey",
        ) from error
    try:
        await to_thread.run_sync(key_hint, key)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from error
    return key


async def _pinned(bundle: BundleReader, expected: ExpectedObject) -> str | None:
    """Return the version of an object whose versions nobody recorded and the bot may not list.

    It is the current one, once it was read and found to be what the manifest says: these objects,
    the context's and the checksums, are small. Raises `VerificationError`.
    """
    store = bundle.store
    if not isinstance(store, S3Storage):
        return None
    version = (await store.stat(expected.name)).version_id
    async with aclosing(store.read(expected.name, version)) as blocks:
        problem = await check_object(blocks, expected, discard)
    if problem:
        raise VerificationError(f"{bundle.url} does not verify: {problem}")
    return version
