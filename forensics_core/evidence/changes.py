"""`diff.json` read back: what differs between a container and its image."""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import aclosing
from dataclasses import dataclass

import zstandard
from anyio import to_thread

from forensics_core.api.order import ArtifactKind
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.evidence.expectation import Expectation
from forensics_core.evidence.manifest import Artifact
from forensics_core.evidence.reader import BundleReader

CHANGES_LIMIT = 256 * 1024 * 1024
"""Bytes that a list of changes may have: a few million paths."""


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs from the image."""

    kind: str
    """`A` added, `C` changed, `D` deleted."""
    path: str


async def changes(bundle: BundleReader, container: str) -> list[Change]:
    """Return what `diff.json` of that container says, once its SHA-256 is found to be right.

    Raises `ForensicsError` where the bundle has none, `VerificationError` where it is not genuine.
    """
    artifact = find_changes(bundle, container)
    data = await read_verified(bundle, bundle.expectations[artifact.name], limit=CHANGES_LIMIT)
    return await to_thread.run_sync(_parse, data, artifact.name)


def find_changes(bundle: BundleReader, container: str) -> Artifact:
    """Return the artifact that lists the container's changes."""
    bundle.check_container(container)
    for artifact in bundle.statement.predicate.artifacts:
        found = artifact.kind is ArtifactKind.DIFF and artifact.container == container
        if found and artifact.name in bundle.expectations:
            return artifact
    raise ForensicsError(
        f"The changes of '{container}' were not captured",
        hint="'forensics ls' shows the reason under 'Not captured'",
    )


async def read_verified(bundle: BundleReader, expected: Expectation, *, limit: int) -> bytes:
    """Return a small artifact's original bytes, or raise `VerificationError`."""
    if max(expected.size or 0, expected.original_size) > limit:
        raise VerificationError(f"{expected.name} claims to have more than {limit} bytes")
    data = bytearray()
    async with aclosing(bundle.read(expected.name)) as blocks:
        async for block in blocks:
            data += block
            if len(data) > limit:
                break
    return await to_thread.run_sync(_original, bytes(data), expected)


def _original(data: bytes, expected: Expectation) -> bytes:
    if hashlib.sha256(data).hexdigest() != expected.sha256:
        raise VerificationError(
            f"{expected.name} is not what the manifest says", hint="Run 'forensics verify'"
        )
    if not expected.compressed:
        return data
    original = _decompressed(data, expected)
    if hashlib.sha256(original).hexdigest() != expected.original_sha256:
        raise VerificationError(f"{expected.name}: decompressed it is not what the manifest says")
    return original


def _decompressed(data: bytes, expected: Expectation) -> bytes:
    stream = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    try:
        return bytes(stream.read(expected.original_size))
    except zstandard.ZstdError as error:
        raise VerificationError(f"{expected.name} cannot be decompressed: {error}") from error


def _parse(data: bytes, name: str) -> list[Change]:
    try:
        return [Change(str(row["kind"]), str(row["path"])) for row in json.loads(data)["changes"]]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise VerificationError(f"{name} is no list of changes: {error}") from error
