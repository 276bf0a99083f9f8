"""What the status becomes, step by step; also where a node said something odd."""

from __future__ import annotations

import pytest

from forensics_core.api.conditions import find_condition
from forensics_core.api.podcheckpoint import Phase
from forensics_core.evidence.bundle import Sealable
from forensics_core.evidence.manifest import Capture, Container, NotCaptured
from forensics_core.operator.statuses import (
    captured,
    complete,
    failed,
    reason_word,
    waiting,
)
from tests.unit.operator.model import BUNDLE
from tests.unit.operator.samples import NOW, POD_UID, checkpoint, pod


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("OOMKilled", "OOMKilled"),
        ("not supported!", "notsupported"),
        ("7 dwarfs", "dwarfs"),
        ("\u202e<script>", "script"),
        ("404", "Unknown"),
        ("", "Unknown"),
        ("x" * 2000, "x" * 60),
    ],
)
def test_any_text_becomes_a_word_that_a_condition_can_bear(text: str, word: str) -> None:
    assert reason_word(text, "Unknown") == word


def test_whoever_waits_has_the_pod_pinned_and_no_worker() -> None:
    it = checkpoint("Capturing", status={"active": 1, "podUID": ""})
    status = waiting(it, pod(), "NodeBusy", "Another one is at it.", NOW, "node1")
    assert (status.phase, status.node, status.pod_uid) == (Phase.PENDING, "node1", POD_UID)
    assert (status.active, status.start_time) == (0, NOW)


def having(**changes: object) -> Sealable:
    """Return a bundle whose predicate says something else."""
    capture = BUNDLE.statement.predicate.model_copy(update=changes)
    return Sealable(
        BUNDLE.statement.model_copy(update={"predicate": capture}),
        BUNDLE.manifest_sha256,
        BUNDLE.manifest,
    )


@pytest.mark.parametrize(
    "containers",
    [
        (Container(name="../../etc", container_id="x"),),
        tuple(Container(name=f"c{number}", container_id="x") for number in range(257)),
    ],
    ids=["name", "many"],
)
def test_a_manifest_that_fits_in_no_status_is_refused(containers: tuple[Container, ...]) -> None:
    with pytest.raises(ValueError, match=r"containers|name"):
        captured(checkpoint("Capturing"), having(containers=containers), NOW)


def gaps(count: int, reason: str = "Gone") -> Capture:
    lost = [
        NotCaptured(what=f"artifact {number}", reason=reason, message="m")
        for number in range(count)
    ]
    note = NotCaptured(what="a remark", reason="Limit", message="m", requested=False)
    return BUNDLE.statement.predicate.model_copy(update={"not_captured": (note, *lost)})


def test_gaps_are_listed_and_the_rest_counted() -> None:
    status = complete(checkpoint("Sealing"), gaps(12, "it is gone!"), True, NOW)
    partial = find_condition(status.conditions, "Partial")
    assert partial
    assert partial.reason == "itisgone"
    assert "artifact 9 (m); and 2 more" in partial.message
    assert "a remark" not in partial.message
    assert status.progress
    assert status.progress.summary == "partial"


def test_a_remark_makes_nothing_partial() -> None:
    status = complete(checkpoint("Sealing"), gaps(0), False, NOW)
    assert find_condition(status.conditions, "Partial") is None
    done = find_condition(status.conditions, "Complete")
    assert done
    assert done.reason == "NotSealed"


def test_a_failure_counts_the_attempts_that_were_made() -> None:
    assert failed(checkpoint("Capturing"), "OOMKilled", "", NOW).failed == 1
    assert failed(checkpoint(), "NotFound", "", NOW).failed == 0
