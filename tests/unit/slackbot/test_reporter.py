"""What the reporter holds of checkpoints that it watches."""

from __future__ import annotations

from typing import Any

from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.report_state import POSTED_ANNOTATION
from slackbot.reporter import reduced


def item(told: str) -> dict[str, Any]:
    containers = [{"name": f"c-{number}", "state": "Captured"} for number in range(50)]
    status = {"phase": "Complete", "location": "s3://b/x/", "containers": containers}
    metadata = {
        "name": "web-0",
        "namespace": "forensics-system",
        "annotations": {POSTED_ANNOTATION: told},
    }
    return {"metadata": metadata, "spec": {"pod": "web-0"}, "status": status}


def test_keeps_running_checkpoints_whole_and_reduces_ended_ones() -> None:
    assert reduced(item("attempt-1,captured")) == item("attempt-1,captured")
    little = PodCheckpoint.parse(reduced(item("captured,complete")))
    assert little.status.location == "s3://b/x/"
    assert little.status.containers == ()
    assert reduced({"metadata": {"name": "new"}}) == {"metadata": {"name": "new"}}
