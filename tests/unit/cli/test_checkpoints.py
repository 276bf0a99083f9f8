from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.cli.checkpoints import age, checkpoint_table, description, timings_table

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = "2026-03-01T11:55:00Z"


def condition(kind: str, reason: str, message: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": AT,
    }


def checkpoint(status: dict[str, Any] | None = None, **spec: Any) -> PodCheckpoint:
    metadata = {"name": "web-0-x", "namespace": "forensics-system", "creationTimestamp": AT}
    body = {"metadata": metadata, "spec": {"pod": "web-0", "namespace": "shop", **spec}}
    return PodCheckpoint.parse(body | ({"status": status} if status else {}))


COMPLETE = {
    "phase": "Complete",
    "startTime": AT,
    "node": "node1",
    "attempt": 1,
    "progress": {"summary": "complete"},
    "location": "s3://cases/forensics/one/",
    "manifestSHA256": "0" * 64,
    "sealed": True,
    "artifacts": 9,
    "bytes": 2048,
    "size": "2.0 KiB",
    "containers": [{"name": "app", "state": "Partial", "reason": "gone \x1b[2J meanwhile"}],
    "conditions": [condition("Complete", "Sealed", "The bundle is sealed.")],
}


def test_a_row_has_what_tells_captures_apart() -> None:
    heading, first, second = checkpoint_table(
        [checkpoint(COMPLETE), checkpoint()], NOW
    ).splitlines()
    assert heading.split() == ["NAME", "NAMESPACE", "POD", "PHASE", "PROGRESS", "SIZE", "AGE"]
    assert first.split() == ["web-0-x", "shop", "web-0", "Complete", "complete", "2.0", "KiB", "5m"]
    assert second.split() == ["web-0-x", "shop", "web-0", "5m"]


@pytest.mark.parametrize(
    ("past", "shown"),
    [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (200_000, "2d")],
)
def test_an_age_is_told_in_its_largest_unit(past: int, shown: str) -> None:
    assert age(NOW - timedelta(seconds=past), NOW) == shown
    assert age(None, NOW) == ""


def test_all_that_matters_about_one() -> None:
    lines = description(checkpoint(COMPLETE, incident="INC-7", reason="odd \u202e traffic"))
    shown = {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}
    assert shown["Pod"] == "shop/web-0"
    assert shown["Reason"] == "odd \\u202e traffic"
    assert shown["Started"] == AT
    assert shown["Evidence"] == "9 artifacts, 2.00 KiB"
    assert shown["Location"] == "s3://cases/forensics/one/"
    assert shown["Manifest"] == "sha256:" + "0" * 64
    assert shown["Sealed"] == "yes"
    text = "\n".join(lines)
    assert "The bundle is sealed." in text
    assert "\\x1b[2J" in text and "\x1b" not in text


def test_one_that_nobody_has_seen_yet() -> None:
    lines = description(checkpoint())
    assert lines == ["Name:      web-0-x", "Pod:       shop/web-0", "Phase:     not begun"]


def test_what_a_failed_attempt_left_is_not_called_evidence() -> None:
    """Captured, but not sealed: it has a location and a digest, and nothing to rely on."""
    lines = description(checkpoint(COMPLETE | {"phase": "Failed"}))
    assert not [line for line in lines if line.startswith(("Evidence", "Location", "Manifest"))]
    assert "Left at:   s3://cases/forensics/one/ (no evidence)" in lines


FINDING = {
    "rule": "running-program-not-in-image",
    "severity": "High",
    "count": 2,
    "container": "app",
    "message": "2 programs run that are not in the image: \x1b[2J\u202e",
}
FINDINGS = {
    "total": 3,
    "bySeverity": {"high": 2, "medium": 0, "low": 1},
    "first": [FINDING, FINDING | {"container": "", "rule": "hidden-module"}],
    "notLookedAt": 1,
}


def test_findings_are_counted_and_the_first_of_them_shown() -> None:
    lines = description(checkpoint(COMPLETE | {"findings": FINDINGS}))
    assert "Findings:  3 (2 high, 1 low); 1 document not looked at" in lines
    text = "\n".join(lines)
    assert "High      app        2 programs run that are not in the image: " in text
    assert "High      (node)" in text
    assert "\x1b" not in text and "\u202e" not in text


def test_that_nothing_was_found_is_told_and_that_nobody_looked_is_not() -> None:
    assert "Findings:  0" in description(checkpoint(COMPLETE | {"findings": {}}))
    assert not [line for line in description(checkpoint(COMPLETE)) if "inding" in line]
    failed = checkpoint(COMPLETE | {"phase": "Failed", "findings": FINDINGS})
    assert not [line for line in description(failed) if "Findings" in line]


def test_timings_are_a_table_with_their_sum() -> None:
    timings = [
        {"step": "Reaction", "milliseconds": 120},
        {"step": "Capture", "milliseconds": 1300},
    ]
    shown = timings_table(checkpoint(COMPLETE | {"timings": timings}))
    assert [line.split() for line in shown.splitlines()] == [
        ["STEP", "SECONDS"],
        ["Reaction", "0.120"],
        ["Capture", "1.300"],
        ["Total", "1.420"],
    ]


def test_before_the_pod_may_be_killed_there_are_no_timings() -> None:
    assert timings_table(checkpoint()) == "Nothing is measured before the pod may be killed."
