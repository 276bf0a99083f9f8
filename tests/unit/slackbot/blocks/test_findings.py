"""The operator's findings in a message: in the reader's language, as far as they are known."""

from __future__ import annotations

import pytest

from forensics_core.api.findings import FindingSeverity, FindingsStatus, FindingStatus
from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.findings import finding_lines, findings_text

KNOWN = "2 programs run that are not in the image: /tmp/x, /tmp/y"


def checkpoint(rule: str, count: int, message: str) -> PodCheckpoint:
    one = FindingStatus(
        rule=rule, severity=FindingSeverity.HIGH, count=count, container="app", message=message
    )
    found = PodCheckpoint.model_validate(
        {"metadata": {"name": "x", "namespace": "y"}, "spec": {"pod": "p"}, "status": {}}
    )
    status = found.status.model_copy(update={"findings": FindingsStatus(total=count, first=(one,))})
    return found.model_copy(update={"status": status})


@pytest.mark.parametrize(
    ("rule", "count", "message", "told"),
    [
        (
            "running-program-not-in-image",
            2,
            KNOWN,
            "2 Programme laufen, die nicht im Image sind: /tmp/x, /tmp/y",
        ),
        (
            "cron",
            1,
            "A scheduled job was added or changed: /etc/crontab",
            "Ein geplanter Auftrag kam hinzu oder wurde geändert: /etc/crontab",
        ),
        ("cron", 1, "Said otherwise by another release", "Said otherwise by another release"),
        ("of-tomorrow", 1, "Something: /x", "Something: /x"),
    ],
)
def test_what_a_rule_saw_is_told_in_german(rule: str, count: int, message: str, told: str) -> None:
    found = checkpoint(rule, count, message)
    assert findings_text(found, "de").endswith(f"schwer · app: {told}")
    assert findings_text(found, "en").endswith(f"high · app: {message}")
    title, one, more = finding_lines(found, "de")
    assert title != one and "forensics report" in str(more)
