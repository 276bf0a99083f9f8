"""The manifest is spelled as `docs/bundle.md` says, and older spellings are still read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Artifact

WHEN = datetime(2026, 8, 1, tzinfo=UTC)
ARTIFACT = Artifact(
    name="containers/web/diff.json",
    kind=ArtifactKind.DIFF,
    sha256="0" * 64,
    size=1,
    original_sha256="0" * 64,
    original_size=1,
    started_at=WHEN,
    finished_at=WHEN,
    seconds=0.5,
    version_id="v1",
    crc64nvme="AAAAAAAAAAA=",
)


def test_the_checksum_is_spelled_as_s3_does() -> None:
    document = json.loads(ARTIFACT.model_dump_json(by_alias=True))
    assert document["crc64nvme"] == "AAAAAAAAAAA=" and document["versionId"] == "v1"
    assert "crc64Nvme" not in document


@pytest.mark.parametrize("spelling", ["crc64nvme", "crc64Nvme"])
def test_both_spellings_of_the_checksum_are_read(spelling: str) -> None:
    document = json.loads(ARTIFACT.model_dump_json(by_alias=True))
    document[spelling] = document.pop("crc64nvme")
    assert Artifact.model_validate_json(json.dumps(document)) == ARTIFACT
