"""Manifests that no honest collector writes, and the largest that one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Container, DigestSet, Remark, Statement, Subject
from forensics_core.bundle.writer import (
    MAX_REMARKS,
    ArtifactSpec,
    BundleWriter,
    SourceNotes,
)
from forensics_core.operator.evidence.manifest import (
    LIMIT,
    MAX_PARTS,
    UnreadableManifest,
    parse_manifest,
)
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.unit.operator.evidence.test_comparison import DIGEST, KINDS, artifact, statement


def test_a_manifest_is_understood_with_its_digest() -> None:
    found = parse_manifest(statement().to_bytes())
    assert found.bundle.statement == statement()
    assert len(found.bundle.manifest_sha256) == 64


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * (MAX_PARTS + 1),
        b'{"x": [' + b"[]," * MAX_PARTS + b"[]]}",
        b'{"x": [' + b"0," * 1_000_000 + b"0]}",
    ],
    ids=["nothing", "empty", "deep", "many parts", "many values"],
)
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableManifest):
        parse_manifest(data)


def test_a_container_that_is_named_twice_is_refused() -> None:
    both = tuple(Container(name="app", container_id=name) for name in "xy")
    with pytest.raises(UnreadableManifest, match="names the container 'app' twice"):
        parse_manifest(statement(containers=both).to_bytes())


def largest(containers: int) -> Statement:
    """Return the manifest of a pod whose containers each fill two artifacts with remarks."""
    names = [f"container-{number:03}" for number in range(containers)]
    rows = [artifact(kind, name, name) for name in names for kind in KINDS]
    message = "It became something else, or went away, while it was read"
    remarks = [Remark(path=f"/var/lib/app/data/{number}", message=message) for number in range(500)]
    for number in range(0, 2 * MAX_REMARKS // len(remarks) * 10):
        rows[number] = rows[number].model_copy(
            update={"remarks": tuple(remarks), "remarks_total": len(remarks)}
        )
    capture = statement().predicate.model_copy(
        update={
            "artifacts": tuple(rows),
            "containers": tuple(Container(name=name, container_id=name) for name in names),
        }
    )
    subject = [Subject(name=row.name, digest=DigestSet(sha256=DIGEST)) for row in rows]
    return Statement(subject=tuple(subject), predicate=capture)


def test_the_manifest_of_a_pod_of_256_containers_with_20000_remarks_fits() -> None:
    data = largest(256).to_bytes()
    assert len(data) < LIMIT
    assert len(parse_manifest(data).bundle.statement.predicate.containers) == 256


async def test_no_pod_can_make_its_manifest_too_large_to_be_sealed(tmp_path: Path) -> None:
    """Names are chosen in containers, and there may be a thousand remarks on each artifact."""
    capture = statement().predicate
    async with open_destination(str(tmp_path / "bundle")) as destination:
        bundle = BundleWriter(destination)
        for number in range(40):
            notes = SourceNotes()
            for _ in range(MAX_REMARKS):
                notes.remark("/" + "x" * 40 * number, "It went away")
            spec = ArtifactSpec(f"containers/app/{number}.json", ArtifactKind.INSPECT, "app")
            await bundle.add(spec, one(b"{}"), notes)
        await bundle.finish(capture)
    data = (tmp_path / "bundle" / "manifest.json").read_bytes()
    found = parse_manifest(data)
    assert len(data) < LIMIT
    rows = found.bundle.statement.predicate.artifacts
    assert len(rows[0].remarks) == rows[-1].remarks_total == MAX_REMARKS
    assert len(rows[-1].remarks) == 0
