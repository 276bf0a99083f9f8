"""A container as UAC would have collected it: `uac-HOST-linux-TIME.tar` with a log beside it.

Files lie in `[root]/`, with `/proc` as it was; what the runtime and the node said in
`live_response`, files that only processes still held in `live_response/process/proc/PID`, memory in
`memory_dump`, all times in `bodyfile/bodyfile.txt`. It stays a tar, as UAC makes one: nothing of a
compromised container is unpacked.

Source: https://tclahr.github.io/uac-docs/output_file/
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from anyio import to_thread

from forensics_core._internal.text import printable
from forensics_core.bundle.layout import (
    CONTEXT,
    DELETED_ARCHIVES,
    NODE,
    PROC_ARCHIVES,
    container_file,
    fit,
)
from forensics_core.bundle.manifest import Artifact, Flag
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.artifacts import read_artifact
from forensics_core.readers.export.archives import (
    LAYERS,
    NOT_AS_PROMISED,
    RECORD,
    archives_of,
    end_of,
    without_end,
)
from forensics_core.readers.export.files import new_file, new_folder, write_new
from forensics_core.readers.export.moving import moved
from forensics_core.readers.notes import Notes
from forensics_core.readers.timeline.formats import bodyfile_row
from forensics_core.readers.timeline.timeline import Filter, bodyfile

_ROOT = b"[root]/"
_HELD = b"live_response/process/proc/"
_FOLDERS = {
    "processes.json": "live_response/process",
    "execs.json": "live_response/process",
    "network.json": "live_response/network",
    "mounts.json": "live_response/storage",
}
"""Where UAC has what is alike; all else about a container is in its folder for containers."""
_NETWORK = ("network.json", "firewall.json", "conntrack.json")
_NOT_COPIED = (".tar", ".tar.zst", ".index.jsonl.zst", ".lookup.jsonl.zst")
_LINES = 256
"""Of a bodyfile that are written at once."""


async def export_uac(
    bundle: BundleReader, containers: Sequence[str], folder: Path
) -> list[ForensicsError]:
    """Write a collection of each container into `folder`; return why something is not in it.

    Nothing is kept of an artifact that is not what the manifest says. Raises `ObjectExists` where
    the folder is not empty; it is left as it was if anything fails.
    """
    async with new_folder(folder):
        return await _collections(bundle, containers, folder)


async def _collections(
    bundle: BundleReader, containers: Sequence[str], folder: Path
) -> list[ForensicsError]:
    failures: list[ForensicsError] = []
    for container in containers:
        collection = _Collection(bundle, container)
        path = folder / f"{collection.name}.tar"
        async with new_file(path) as file:
            await collection.write(file)
        digest = await to_thread.run_sync(_digest, path)
        report = collection.report() + f"SHA-256 of {path.name}: {digest}\n"
        await write_new(path.with_suffix(".log"), _text(report))
        failures += collection.failures
    return failures


async def _text(text: str) -> AsyncGenerator[bytes, None]:
    yield text.encode()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Collection:
    """One container's collection, and the log of how it was made."""

    def __init__(self, bundle: BundleReader, container: str) -> None:
        self._bundle = bundle
        self._container = container
        self._capture = bundle.statement.predicate
        pod = self._capture.order.pod
        self._host = f"{fit(pod.name)}-{fit(container)}" if pod else fit(container)
        self.name = f"uac-{self._host}-linux-{self._capture.started_at:%Y%m%d%H%M%S}"
        self.failures: list[ForensicsError] = []
        self._log: list[str] = []
        for line in self._about():
            self._note("INF", line)

    def _about(self) -> list[str]:
        capture = self._capture
        return [
            f"Exported by kube-forensics from a bundle that {capture.tool.version} captured",
            f"Bundle: {self._bundle.url}",
            f"SHA-256 of its manifest: {self._bundle.manifest_sha256}",
            f"Container: {self._container}",
            "Operating system: linux",
            f"System architecture: {capture.node.machine}",
            f"Hostname: {self._host}",
            f"Node: {capture.node.hostname}",
            "Mount point: /",
        ]

    def _note(self, level: str, line: str) -> None:
        stamp = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} +0000"
        self._log.append(f"{stamp} {level} {printable(line, 4096)}\n")

    def report(self) -> str:
        """Return the log."""
        return "".join(self._log)

    async def write(self, file: BinaryIO) -> None:
        """Write the archive."""
        for gap in self._capture.not_captured:
            if gap.container in (None, "", self._container):
                self._note("ERR", f"Not captured: {gap.what}: {gap.reason}: {gap.message}")
        tree = archives_of(self._bundle, self._container, (*LAYERS, PROC_ARCHIVES))
        for artifact in tree:
            await self._archive(file, artifact, _ROOT)
        for artifact in archives_of(self._bundle, self._container, (DELETED_ARCHIVES,), fine=True):
            await self._archive(file, artifact, _HELD)
        for name in self._bundle.objects:
            if place := self._place(name):
                await self._member(file, place, read_artifact(self._bundle, name), name)
        await self._member(file, "bodyfile/bodyfile.txt", self._bodyfile(), "bodyfile")
        await self._member(file, "uac.log", _text(self.report()), "uac.log")
        end = end_of(await to_thread.run_sync(file.tell))
        await to_thread.run_sync(file.write, end)

    def _place(self, name: str) -> str:
        """Return where an artifact goes; empty for what is an archive or of another container."""
        own = container_file(self._container, "")
        plain = self._bundle.objects[name].plain_name
        if name.startswith(own) and not name.endswith(_NOT_COPIED):
            rest = plain.removeprefix(own)
            if rest.startswith("memory/"):
                return f"memory_dump/{rest.removeprefix('memory/')}"
            return f"{_FOLDERS.get(rest, 'live_response/containers')}/{rest}"
        if name.startswith(NODE):
            kind = "network" if name.removeprefix(NODE) in _NETWORK else "system"
            return f"live_response/{kind}/{plain}"
        return f"live_response/containers/{plain}" if name.startswith(CONTEXT) else ""

    async def _archive(self, file: BinaryIO, artifact: Artifact, folder: bytes) -> None:
        """Write an archive's members into a folder, or nothing of it."""
        begin = await to_thread.run_sync(file.tell)
        name = artifact.name
        try:
            async with (
                aclosing(read_artifact(self._bundle, name)) as blocks,
                aclosing(without_end(blocks, name)) as records,
                aclosing(moved(records, folder, name)) as pieces,
            ):
                async for piece in pieces:
                    await to_thread.run_sync(file.write, piece)
        except NOT_AS_PROMISED as error:
            await self._leave_out(file, begin, error)
            return
        cut = ", which was cut" if Flag.TRUNCATED in artifact.flags else ""
        self._note("INF", f"{name}{cut}: {artifact.original_sha256}")

    async def _member(
        self, file: BinaryIO, place: str, blocks: AsyncGenerator[bytes, None], name: str
    ) -> None:
        """Write one file, whose header comes when its size is known."""
        begin = await to_thread.run_sync(file.tell)
        room = len(_head(place, 0, self._capture.started_at))
        size = 0
        try:
            async with aclosing(blocks) as pieces:
                await to_thread.run_sync(file.write, bytes(room))
                async for piece in pieces:
                    size += len(piece)
                    await to_thread.run_sync(file.write, piece)
        except NOT_AS_PROMISED as error:
            await self._leave_out(file, begin, error)
            return
        await to_thread.run_sync(file.write, bytes(-size % RECORD))
        await to_thread.run_sync(file.seek, begin)
        await to_thread.run_sync(file.write, _head(place, size, self._capture.started_at))
        await to_thread.run_sync(file.seek, 0, io.SEEK_END)
        if name != "uac.log":
            self._note("INF", f"{name}: {place}")

    async def _leave_out(self, file: BinaryIO, begin: int, error: ForensicsError) -> None:
        await to_thread.run_sync(file.seek, begin)
        await to_thread.run_sync(file.truncate)
        self.failures.append(error)
        self._note("ERR", f"Left out: {error.message}")

    async def _bodyfile(self) -> AsyncGenerator[bytes, None]:
        notes, lines = Notes(), list[str]()
        found = bodyfile(self._bundle, Filter(containers=(self._container,)), notes)
        async with aclosing(found) as rows:
            async for container, each in rows:
                lines.append(bodyfile_row(each, container) + "\n")
                if len(lines) == _LINES:
                    yield "".join(lines).encode()
                    lines.clear()
        yield "".join(lines).encode()
        for line in notes.missing:
            self._note("ERR", f"Not in the bodyfile: {line}")


def _head(place: str, size: int, when: datetime) -> bytes:
    """Return a header, in a format whose length no size changes."""
    member = tarfile.TarInfo(place)
    member.size, member.mtime, member.mode = size, int(when.timestamp()), 0o600
    return member.tobuf(tarfile.GNU_FORMAT)
