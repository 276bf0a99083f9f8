"""Read a bundle: its containers, what changed in them, and single files, verified as it is read::

    from forensics_core.bundles import open_bundle

    async with open_bundle("s3://cases/forensics/20260801T101112Z_shop_web-0_4f2a-1") as bundle:
        web = bundle.container("web")
        async for change in web.changes():
            print(change.kind, ascii(change.path))
        passwd = await web.read("/etc/passwd")

A location is `s3://bucket/prefix`, a folder's path, or its `file://` URL. What is yielded was
compared with the manifest by the end of the iteration: who reads to its end without a
`VerificationError` may rely on all of it. `verify` compares everything at once, and `fetch` brings
it home. All of it is hostile input: paths are never followed, and must be escaped where shown.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.fetch import fetch
from forensics_core.bundle.files import FileIndex, open_index
from forensics_core.bundle.layout import container_file
from forensics_core.bundle.reader import (
    MANIFEST_LIMIT,
    BundleReader,
    locate,
    read_located,
    require_sha256,
)
from forensics_core.bundle.verify import require_seal, verify
from forensics_core.errors import ContainerNotFound, ForensicsError, NotInBundle
from forensics_core.models import (
    Artifact,
    ArtifactKind,
    Capture,
    Change,
    Container,
    NotCaptured,
    Row,
    S3Access,
    Statement,
)
from forensics_core.readers.artifacts import gunzipped, lines, read_artifact
from forensics_core.readers.changes import change_batches
from forensics_core.readers.documents import load
from forensics_core.readers.findings.documents import rows
from forensics_core.readers.timeline.logs import log_artifacts

__all__ = ["Bundle", "BundleContainer", "fetch", "open_bundle", "verify"]

FILE_LIMIT = 64 * 1024 * 1024
"""Bytes of a file that `read` returns at once, unless told otherwise."""


@asynccontextmanager
async def open_bundle(
    location: str,
    *,
    key: bytes | None = None,
    sha256: str = "",
    access: S3Access | None = None,
    limit: int = MANIFEST_LIMIT,
) -> AsyncIterator[Bundle]:
    """Open the bundle at `location`, and read its manifest.

    `key`: a public key, in PEM, that the seal has to hold for. `sha256`: its manifest's, where it
    is known, as `Evidence.manifest_sha256`. Without either nothing says who wrote the manifest.
    `limit`: bytes that it may have.

    Raises `BundleNotFound` where there is no manifest, `VerificationError` where it is none of
    ours, another one, or not sealed with the key, `UsageError` for a key that is none, and a
    `DestinationError` where the place cannot be read.
    """
    async with locate(location, sha256=sha256, key=key, access=access, limit=limit) as located:
        require_sha256(located, sha256)
        if key is not None:
            await require_seal(located, key)
        yield Bundle(await read_located(located))


class Bundle:
    """An open bundle; made by `open_bundle`, and of use until its block is left."""

    def __init__(self, reader: BundleReader) -> None:
        self._reader = reader

    @property
    def location(self) -> str:
        """Its URL, ending in `/`."""
        return self._reader.url

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of its manifest, in hexadecimal."""
        return self._reader.manifest_sha256

    @property
    def statement(self) -> Statement:
        """The whole manifest: an in-toto statement."""
        return self._reader.statement

    @property
    def capture(self) -> Capture:
        """What the manifest says of the capture: who asked and why, when, where, of what."""
        return self.statement.predicate

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What was captured, in the order of the capture."""
        return self.capture.artifacts

    @property
    def gaps(self) -> tuple[NotCaptured, ...]:
        """What was asked for, or would be expected, and is not here, each with its reason."""
        return self.capture.not_captured

    @property
    def containers(self) -> list[str]:
        """The names of the captured containers, in order."""
        return self._reader.containers

    def container(self, name: str) -> BundleContainer:
        """Return a captured container. Raises `ContainerNotFound`."""
        for each in self.capture.containers:
            if each.name == name:
                return BundleContainer(self._reader, each)
        raise ContainerNotFound(
            f"The bundle has no container '{name}'", hint=f"It has: {', '.join(self.containers)}"
        )

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """Yield an artifact by its name in the bundle, as it was before compression.

        Raises `NotInBundle` where the bundle has none so called, `VerificationError` at the end
        if it is not what the manifest says.
        """
        if name not in self._reader.objects:
            raise NotInBundle(
                f"The bundle has no artifact '{name}'",
                hint="`Bundle.artifacts` names all there are",
            )
        async with aclosing(read_artifact(self._reader, name)) as blocks:
            async for block in blocks:
                yield block

    async def document(self, name: str) -> Any:
        """Return a JSON document, such as `context/pod.json`; None where there is none so called.

        Raises `VerificationError`. Nothing is promised of its types: a node may lie.
        """
        return await load(self._reader, name)


class BundleContainer:
    """One container of an open bundle; made by `Bundle.container`.

    What the bundle does not have raises `NotInBundle`, whose hint is the reason; what is not
    as the manifest says raises `VerificationError`, when all the rest was yielded.
    """

    def __init__(self, reader: BundleReader, facts: Container) -> None:
        self._reader = reader
        self._index: FileIndex | None = None
        self.facts = facts
        """What the manifest says of it: image, runtime, state, result."""

    @property
    def name(self) -> str:
        """Its name in the pod, or on the host."""
        return self.facts.name

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What was captured of it."""
        found = self._reader.statement.predicate.artifacts
        return tuple(each for each in found if each.container == self.name)

    @property
    def gaps(self) -> tuple[NotCaptured, ...]:
        """What of it is not here, each with its reason."""
        found = self._reader.statement.predicate.not_captured
        return tuple(each for each in found if each.container == self.name)

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield each path that differs from the image: `A` added, `C` changed, `D` deleted."""
        self._require(ArtifactKind.DIFF)
        async with aclosing(change_batches(self._reader, self.name)) as batches:
            async for batch in batches:
                for change in batch:
                    yield change

    async def files(self, path: str | bytes = "/") -> AsyncGenerator[Row, None]:
        """Yield the index's row of `path`, and of everything beneath it.

        As the container saw it, mounts included; a path that is not there yields nothing.
        """
        index = await self._open_index()
        async with aclosing(index.rows(_absolute(path))) as found:
            async for row in found:
                yield row

    async def read(self, path: str | bytes, *, limit: int = FILE_LIMIT) -> bytes:
        """Return the content of one regular file; of the archive only what holds it is read.

        Raises `NotInBundle` for what is not there, not a regular file, or longer than `limit`
        bytes, for which there is `stream`.
        """
        data = bytearray()
        async with aclosing(self.stream(path)) as blocks:
            async for block in blocks:
                data += block
                if len(data) > limit:
                    raise NotInBundle(
                        f"{path!r} has more than {limit} bytes", hint="Use `stream`, or a limit"
                    )
        return bytes(data)

    async def stream(self, path: str | bytes) -> AsyncGenerator[bytes, None]:
        """Yield the content of one regular file in blocks, holes included.

        Hard links lead to their content, symbolic links are not followed.
        """
        index = await self._open_index()
        with _not_there():
            row = await find_file(index, _absolute(path))
        async with aclosing(read_file(self._reader, index, row)) as blocks:
            async for block in blocks:
                yield block

    async def logs(self) -> AsyncGenerator[bytes, None]:
        """Yield the lines of all its logs, as the runtime wrote them, without their ends.

        Docker writes JSON, the others time, stream, tag and text. Of a line over 64 KiB it is the
        beginning.
        """
        self._require(ArtifactKind.LOGS)
        for artifact in log_artifacts(self._reader, self.name):
            stored = read_artifact(self._reader, artifact.name)
            plain = gunzipped(stored, artifact.name) if artifact.name.endswith(".gz") else stored
            async with aclosing(stored), aclosing(plain), aclosing(lines(plain)) as batches:
                async for batch in batches:
                    for line in batch:
                        yield line

    async def processes(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield its processes: `pid`, `ppid`, `exe`, `cmdline`, `environ`, `startTime`, ..."""
        async with aclosing(self._rows(ArtifactKind.PROCESSES)) as found:
            async for row in found:
                yield row

    async def network(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield its network namespaces: `host`, `sockets`, `raw`, ..."""
        async with aclosing(self._rows(ArtifactKind.NETWORK)) as found:
            async for row in found:
                yield row

    async def _rows(self, kind: ArtifactKind) -> AsyncGenerator[dict[str, Any], None]:
        self._require(kind)
        name = container_file(self.name, f"{kind}.json")
        async with aclosing(rows(self._reader, name)) as batches:
            async for batch in batches:
                for row in batch:
                    yield row

    async def _open_index(self) -> FileIndex:
        if self._index is None:
            with _not_there():
                self._index = await open_index(self._reader, self.name)
        return self._index

    def _require(self, kind: ArtifactKind) -> None:
        """Raise `NotInBundle` unless there is such an artifact: nothing is not the same."""
        if any(each.kind is kind for each in self.artifacts):
            return
        reasons = [f"{gap.reason}, {gap.message}" for gap in self.gaps if gap.what == kind]
        raise NotInBundle(
            f"The {kind} of '{self.name}' was not captured",
            hint=reasons[0] if reasons else "The manifest does not say why",
        )


@contextmanager
def _not_there() -> Iterator[None]:
    """Raise `NotInBundle` for what the rooms below only call an error."""
    try:
        yield
    except ForensicsError as error:
        if type(error) is not ForensicsError:
            raise
        raise NotInBundle(error.message, hint=error.hint) from error


def _absolute(path: str | bytes) -> bytes:
    return posixpath.normpath(b"/" + os.fsencode(path).lstrip(b"/"))
