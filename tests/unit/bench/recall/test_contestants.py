from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.recall.contestants import CONTESTANTS, OURS, OURS_ALL, Contestant, ToolResult, everything
from forensics_core.api.order import ArtifactKind

OTHERS = [each for each in CONTESTANTS if each.name not in {OURS, OURS_ALL}]


def named(name: str) -> Contestant:
    return next(each for each in CONTESTANTS if each.name == name)


def test_everything_is_every_kind_that_can_be_asked_for() -> None:
    asked = set(everything()[1::2])
    assert asked == {kind.value for kind in ArtifactKind} - {ArtifactKind.CONTEXT.value}


def test_what_ours_says_is_its_list_of_gaps(tmp_path: Path) -> None:
    gap = {"what": "mount /srv", "path": "/srv", "reason": "NotSupported", "message": "No"}
    manifest = {"predicate": {"notCaptured": [gap]}}
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "manifest.json").write_text(json.dumps(manifest))
    result = ToolResult(tmp_path, "Captured. failed: all")
    (remark,) = named(OURS).remarks(result)
    assert remark.text == "mount /srv /srv NotSupported No process  "
    assert not named(OURS).is_evidence("case/manifest.json")
    assert named(OURS).is_evidence("case/containers/web/rootfs.tar.zst")


@pytest.mark.parametrize("other", OTHERS, ids=lambda each: each.name)
def test_what_others_say_are_their_complaints(other: Contestant, tmp_path: Path) -> None:
    (tmp_path / "tool.log").write_text("collected /a\n[WARNING] Could not open /b\n")
    remarks = other.remarks(ToolResult(tmp_path, "Permission denied: /c\nall is well\n"))
    assert [each.text for each in remarks] == [
        "Permission denied: /c",
        "[WARNING] Could not open /b",
    ]
    assert other.is_evidence("manifest.json")
