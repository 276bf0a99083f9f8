"""The message of many pods: within Slack's limits, and without anybody's markup."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_core.api.incident import IncidentSummary
from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.incident import (
    FEW,
    batch_message,
    end_message,
    incident_message,
    names_text,
)
from slackbot.blocks.limits import FALLBACK, message_problems
from slackbot.blocks.root import MessageOptions
from slackbot.report_state import ReportState

HOSTILE = "<!channel> *x* `y` <@U0ALICE> \u202e" + "long " * 400
AT = "2026-11-28T00:00:00Z"


def condition(kind: str, status: str = "True") -> dict[str, Any]:
    known = {"type": kind, "status": status, "reason": "Bad", "message": HOSTILE}
    return known | {"lastTransitionTime": AT}


def checkpoint(number: int, phase: str) -> PodCheckpoint:
    finding = {
        "rule": f"rule-{number}",
        "severity": "High",
        "count": 1,
        "container": "app",
        "message": HOSTILE,
    }
    kinds = ["Failed"] if phase == "Failed" else ["Captured", "Partial", "PodDeleted"]
    return PodCheckpoint.parse(
        {
            "metadata": {
                "name": f"case-{number}",
                "uid": f"uid-{number}",
                "labels": {"forensics.orkaproj.io/rule": "oom"},
            },
            "spec": {
                "pod": "p" * 240 + str(number),
                "namespace": "shop",
                "incident": "INC-7",
                "reason": "r" * 1024,
                "isolate": True,
            },
            "status": {
                "phase": phase,
                "conditions": [*map(condition, kinds), condition("Isolated", "Unknown")],
                "location": "s3://b/" + "l" * 2000,
                "manifestSHA256": "ab" * 32,
                "findings": {
                    "total": 1,
                    "bySeverity": {"high": 1, "medium": 0, "low": 0},
                    "first": [finding],
                },
            },
        }
    )


def short(number: int, phase: str) -> PodCheckpoint:
    made = checkpoint(number, phase)
    spec = made.spec.model_copy(update={"pod": f"web-{number:02}"})
    return made.model_copy(update={"spec": spec})


@pytest.mark.parametrize("count", [2, FEW, FEW + 1, 200])
@pytest.mark.parametrize("phase", ["Complete", "Failed"])
@pytest.mark.parametrize("language", ["en", "de"])
def test_any_number_of_pods_fits_into_one_message(count: int, phase: str, language: str) -> None:
    checkpoints = [checkpoint(number, phase) for number in range(count)]
    summary = IncidentSummary.of("INC-7", checkpoints)
    states = [ReportState(requester=f"U0P{number}", approver="U0B") for number in range(count)]
    kinds = ("captured", "failure", "deleted", "isolated", "released", "pod-deleted", "ruled")
    messages = [
        incident_message(summary, MessageOptions("west"), language, states),
        end_message(summary, language),
        *(batch_message(kind, checkpoints, summary, language) for kind in kinds),
    ]
    for message in messages:
        assert message_problems(message.blocks) == []
        assert len(message.payload()["text"]) <= FALLBACK
        assert "\u202e" not in str(message.blocks)
        assert "`y`" not in str(message.blocks)
        assert "mrkdwn" not in str([one for one in message.blocks if one["type"] != "context"])


def test_names_that_do_not_fit_are_counted() -> None:
    assert names_text(["a", "b"], "en") == "a, b"
    said = names_text([f"shop/web-{number}" for number in range(200)], "en")
    assert said.endswith(" more")
    assert len(said) < 1300


def test_few_pods_have_a_line_each_and_many_are_counted() -> None:
    few = [short(number, "Complete") for number in range(FEW)]
    many = [*few, short(FEW, "Failed")]
    options = MessageOptions()
    lines = str(incident_message(IncidentSummary.of("INC-7", few), options, "en", ()).blocks)
    counts = str(incident_message(IncidentSummary.of("INC-7", many), options, "en", ()).blocks)
    assert "case-11" in lines
    assert f"complete, in part: {FEW} · failed: 1" in counts
    assert f"{FEW} of {FEW + 1} pods may be killed" in counts
