"""Real bundles for tests, written by the real writer; and ways to spoil those in folders."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from forensics_core.api.order import ArtifactKind, Compression, ContextFile
from forensics_core.bundle.manifest import (
    Capture,
    Container,
    Flag,
    Node,
    NotCaptured,
    OrderFacts,
    Tool,
)
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter, FinishedBundle, SourceNotes
from forensics_core.storage.blocks import BLOCK_SIZE, one
from forensics_core.storage.storage import Storage, open_destination

INSPECT = "containers/web/inspect.json"
DIFF = "containers/web/diff.json"
ROOTFS = "containers/web/rootfs.tar.zst"
CONTEXT = "context/pod.yaml"
POD = b"kind: Pod\n"
ARCHIVE = random.Random(7).randbytes(64 * 1024) * 160  # noqa: S311 - the same every time
"""What the file system's archive holds: more than two blocks."""
CHANGES = {"method": "engine-api", "changes": [{"kind": "A", "path": "/tmp/\x1b[2Jx\n"}]}

assert len(ARCHIVE) > 2 * BLOCK_SIZE


async def write_bundle(url: str, *, archive: bytes = ARCHIVE) -> FinishedBundle:
    """Write a bundle of three artifacts, one gap and a file of the context to `url`."""
    async with open_destination(url) as destination:
        await _put(destination, CONTEXT, POD)
        bundle = BundleWriter(destination)
        await bundle.add(ArtifactSpec(INSPECT, ArtifactKind.INSPECT, "web"), one(b'{"Id": "4f2a"}'))
        await bundle.add(
            ArtifactSpec(DIFF, ArtifactKind.DIFF, "web"), one(listing(CHANGES, "changes"))
        )
        spec = ArtifactSpec(ROOTFS, ArtifactKind.FILESYSTEM, "web", compression=Compression.ZSTD)
        await bundle.add(spec, one(archive), SourceNotes(flags={Flag.CHANGED_WHILE_READ}))
        bundle.record_gap(
            NotCaptured(
                what="processes",
                container="web",
                reason="NotPermitted",
                message="no CAP_SYS_PTRACE",
            )
        )
        return await bundle.finish(capture(url), [context_file()])


def listing(document: dict[str, Any], name: str) -> bytes:
    """Return a document as the collector writes those that end in a list: a row a line."""
    head = {key: value for key, value in document.items() if key != name}
    rows = ",\n".join(json.dumps(row) for row in document[name])
    return f"{json.dumps({**head, name: []})[:-2]}\n{rows}\n]}}\n".encode()


async def _put(destination: Storage, name: str, data: bytes) -> None:
    async with destination.create(name) as writer:
        await writer.write(data)
        await writer.commit()


def capture(url: str = "file:///x/y") -> Capture:
    """Return a predicate without artifacts, of a capture to `url`."""
    destination, _, bundle = url.rpartition("/")
    when = datetime(2026, 8, 1, 10, 11, 12, tzinfo=UTC)
    return Capture(
        order=OrderFacts(
            uid=UUID(int=0x4F2A), attempt=1, sha256="0" * 64, destination=destination, bundle=bundle
        ),
        tool=Tool(version="0.1.0"),
        node=Node(hostname="node-1"),
        started_at=when,
        finished_at=when,
        containers=(Container(name="web", container_id="docker://4f2a"),),
    )


def of_order(capture: Capture, **facts: Any) -> Capture:
    """Return the predicate with other facts of its order."""
    return capture.model_copy(update={"order": capture.order.model_copy(update=facts)})


def context_file() -> ContextFile:
    """Return what the work order says of the context's only file."""
    digest = hashlib.sha256(POD).hexdigest()
    when = datetime(2026, 8, 1, 10, 11, 10, tzinfo=UTC)
    return ContextFile(name=CONTEXT, sha256=digest, size=len(POD), captured_at=when)


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite the manifest in `folder` as a hostile node could have written it."""
    path = folder / "manifest.json"
    document = json.loads(path.read_bytes())
    edit(document)
    path.write_text(json.dumps(document))


def artifact(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an artifact's row in a manifest."""
    row: dict[str, Any]
    (row,) = (row for row in document["predicate"]["artifacts"] if row["name"] == name)
    return row


def replace_object(folder: Path, name: str, data: bytes) -> None:
    """Store other bytes under `name`, and make the manifest and the checksums agree with them.

    That is what a hostile node can do; what was promised of the original stays.
    """
    digest = hashlib.sha256(data).hexdigest()
    (folder / name).write_bytes(data)

    def edit(document: dict[str, Any]) -> None:
        row = artifact(document, name)
        _relist(folder, document, row["sha256"], digest)
        row.update(sha256=digest, size=len(data))
        _set_subject(document, name, digest)

    edit_manifest(folder, edit)


def _relist(folder: Path, document: dict[str, Any], old: str, new: str) -> None:
    sums = folder / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(old, new))
    _set_subject(document, "SHA256SUMS", hashlib.sha256(sums.read_bytes()).hexdigest())


def _set_subject(document: dict[str, Any], name: str, digest: str) -> None:
    for subject in document["subject"]:
        if subject["name"] == name:
            subject["digest"]["sha256"] = digest
