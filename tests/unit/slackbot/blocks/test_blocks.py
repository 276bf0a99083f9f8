"""What messages say at each stage. Pure: checkpoints in, blocks out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from forensics_core.api.order import ArtifactKind, Retention, RetentionMode
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.bundle.manifest import Artifact
from forensics_core.bundle.verification import Problem, ProblemKind, SealState, Verification
from lab.slack.workspace import buttons, words
from slackbot.blocks.answers import DownloadLink, links_messages, list_message
from slackbot.blocks.elements import table
from slackbot.blocks.limits import message_problems, problems, view_problems
from slackbot.blocks.root import MessageOptions, root_message
from slackbot.blocks.steps import StepState, elapsed, steps
from slackbot.blocks.thread import evidence_rows, milestone_message, verification_message
from slackbot.handlers.home import home_view
from slackbot.report_state import milestones, phase_word

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


def checkpoint(name: str = "web-0-1", /, **status: Any) -> PodCheckpoint:
    spec: dict[str, Any] = {"pod": "web-0", "namespace": "shop"} | status.pop("spec", {})
    metadata = {"name": name, "namespace": "forensics-system", "uid": "u-1"}
    metadata |= status.pop("metadata", {})
    return PodCheckpoint.parse({"metadata": metadata, "spec": spec, "status": status})


def condition(kind: str, value: bool, reason: str, message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": str(value),
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-08-01T11:00:00Z",
    }


CAPTURED = condition("Captured", True, "ManifestFound")
FAILED = condition("Failed", True, "NotFound", "No such pod")
STAGES: list[tuple[dict[str, Any], str, list[str], list[str]]] = [
    ({}, "Asked", ["in_progress", "pending", "pending"], []),
    (
        {"phase": "Pending", "conditions": [condition("Captured", False, "PodPending", "Soon")]},
        "Pending",
        ["in_progress", "pending", "pending"],
        [],
    ),
    (
        {"phase": "Capturing", "attempt": 2},
        "Capturing",
        ["complete", "in_progress", "pending"],
        ["attempt-1", "attempt-2"],
    ),
    (
        {"phase": "Sealing", "attempt": 1, "conditions": [CAPTURED]},
        "Sealing",
        ["complete", "complete", "in_progress"],
        ["attempt-1", "captured"],
    ),
    (
        {"phase": "Complete", "attempt": 1, "conditions": [CAPTURED], "sealed": True},
        "Complete",
        ["complete", "complete", "complete"],
        ["attempt-1", "captured", "complete"],
    ),
    (
        {"phase": "Failed", "conditions": [FAILED]},
        "Failed",
        ["error", "pending", "pending"],
        ["failed"],
    ),
    (
        {"phase": "Failed", "attempt": 1, "conditions": [FAILED]},
        "Failed",
        ["complete", "error", "pending"],
        ["attempt-1", "failed"],
    ),
    (
        {"phase": "Failed", "attempt": 1, "conditions": [CAPTURED, FAILED]},
        "Failed",
        ["complete", "complete", "error"],
        ["attempt-1", "captured", "failed"],
    ),
]


@pytest.mark.parametrize(("status", "word", "states", "reached"), STAGES)
@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("simple", [False, True])
def test_the_message_shows_every_phase(
    status: dict[str, Any],
    word: str,
    states: list[str],
    reached: list[str],
    language: str,
    simple: bool,
) -> None:
    one = checkpoint(**status)
    assert phase_word(one) == word
    assert [step.state for step in steps(one, language, NOW)] == [StepState(s) for s in states]
    assert milestones(one) == reached
    message = root_message(one, MessageOptions("west", language, simple=simple), NOW)
    assert message_problems(message.blocks) == []
    for milestone in reached:
        assert problems(milestone_message(one, milestone, language).blocks) == []


@pytest.mark.parametrize(
    ("status", "evidence", "offered"),
    [
        ({"phase": "Capturing", "attempt": 1}, True, {"cancel"}),
        ({"phase": "Capturing", "attempt": 1, "spec": {"cancel": True}}, True, set()),
        ({"phase": "Failed", "conditions": [FAILED]}, True, {"retry"}),
        ({"phase": "Failed", "conditions": [CAPTURED, FAILED]}, True, {"retry"}),
        ({"phase": "Complete", "conditions": [CAPTURED]}, True, {"download", "verify", "retry"}),
        ({"phase": "Complete", "conditions": [CAPTURED]}, False, {"retry"}),
    ],
)
def test_buttons_depend_on_the_phase(
    status: dict[str, Any], evidence: bool, offered: set[str]
) -> None:
    message = root_message(checkpoint(**status), MessageOptions(evidence=evidence), NOW)
    assert set(buttons(message.blocks)) == offered
    assert {one["value"] for one in buttons(message.blocks).values()} <= {"u-1"}


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "0:05"), (65, "1:05"), (3725, "1:02:05"), (-5, "0:00")]
)
def test_formats_the_elapsed_time(seconds: int, text: str) -> None:
    started = (NOW - timedelta(seconds=seconds)).isoformat()
    assert elapsed(checkpoint(startTime=started), NOW) == text


def test_the_elapsed_time_stops_at_completion() -> None:
    one = checkpoint(startTime="2026-08-01T11:00:00Z", completionTime="2026-08-01T11:00:30Z")
    assert elapsed(one, NOW) == "0:30"
    assert elapsed(checkpoint(), NOW) == "0:00"


def artifact(number: int, padding: str = "") -> Artifact:
    return Artifact(
        name=f"containers/app/{number}{padding}.json",
        kind=ArtifactKind.INSPECT,
        container="app",
        sha256="ab" * 32,
        size=2048,
        original_sha256="ab" * 32,
        original_size=2048,
        started_at=NOW,
        finished_at=NOW,
        seconds=0.1,
    )


def test_the_table_lists_every_artifact_and_the_manifest() -> None:
    rows = evidence_rows(checkpoint(manifestSHA256="cd" * 32), "en", [artifact(1)])
    assert rows[1] == ["app", "containers/app/1.json", "2.0 KiB", "ab" * 32, "none asked"]
    assert rows[-1][1] == "manifest.json"
    assert rows[-1][3] == "cd" * 32


@pytest.mark.parametrize("padding", ["", "x" * 400])
def test_a_long_table_counts_what_it_leaves_out(padding: str) -> None:
    many = [artifact(number, padding) for number in range(150)]
    rows = evidence_rows(checkpoint(), "en", many)
    left = 150 - (len(rows) - 3)
    assert rows[-2][1] == f"and {left} more, in manifest.json"
    assert message_problems([table(rows)]) == []


@pytest.mark.parametrize(
    ("retention", "text"),
    [
        (Retention(mode=RetentionMode.COMPLIANCE, days=30), "Compliance, 30 days"),
        (Retention(legal_hold=True), "legal hold"),
        (Retention(days=1, legal_hold=True), "Governance, 1 days, legal hold"),
    ],
)
def test_retention_is_in_the_table(retention: Retention, text: str) -> None:
    spec = {"retention": retention.model_dump(mode="json", by_alias=True, exclude_none=True)}
    assert evidence_rows(checkpoint(spec=spec), "en")[-1][4] == text


def verification(*found: Problem, seal: SealState = SealState.VALID) -> Verification:
    return Verification("s3://b/x/", "ab" * 32, None, 9, 2048, seal, found, ())


def test_shows_the_verification_result() -> None:
    well = verification_message(verification(), "en")
    assert "all 9 artifacts" in words(well.blocks)
    assert "Seal: valid" in words(well.blocks)
    problem = Problem(ProblemKind.MISMATCH, "diff.json", "other bytes")
    ill = verification_message(verification(problem, seal=SealState.INVALID), "en")
    assert "does NOT verify" in ill.text
    assert "INVALID" in words(ill.blocks)


def test_links_are_paged_and_the_rest_is_counted() -> None:
    url = "https://s3.example/x?" + "y" * 600
    links = [DownloadLink(f"f{number}", 1, "ab" * 32, url) for number in range(80)]
    pages = links_messages("web-0-1", "s3://b/x/", links, 5, "en")
    assert [message_problems(page.blocks) for page in pages] == [[]] * 4
    shown = sum(len(buttons(page.blocks)) for page in pages)
    assert 30 < shown < 80
    last = words(pages[-1].blocks)
    assert f"{80 - shown} more artifacts: forensics fetch s3://b/x/" in last
    assert "s3.example" not in last


def test_a_few_links_fit_one_page() -> None:
    (page,) = links_messages(
        "web-0-1", "s3://b/x/", [DownloadLink("f", 1, "ab", "https://x")], 5, "en"
    )
    assert set(buttons(page.blocks)) == {"open-0"}


def test_the_home_and_the_list_are_bounded() -> None:
    many = [checkpoint(f"c-{n}") for n in range(60)]
    done = [checkpoint(f"d-{n}", phase="Complete", conditions=[CAPTURED]) for n in range(60)]
    view = home_view([*many, *done], "en", "https://example.slack.com/")
    assert view_problems(view) == []
    assert "c-29" in words(view)
    assert "c-30" not in words(view)
    assert "d-14" in words(view)
    assert "d-15" not in words(view)
    assert "c-19" in words(list_message(many, "en").blocks)
    assert "c-20" not in words(list_message(many, "en").blocks)


HOSTILE = "2 programs run that are not in the image: <!channel> *x* `y` \u202e\x1b[2J&" + "z" * 99
FINDINGS: dict[str, Any] = {
    "total": 9,
    "bySeverity": {"high": 4, "medium": 3, "low": 2},
    "first": [
        {"rule": "r" * 63, "severity": severity, "container": container, "message": HOSTILE}
        for severity, container in (("High", "app"), ("Medium", ""), ("Low", "a" * 63))
    ],
    "notLookedAt": 2,
}
FOUND = {"phase": "Complete", "attempt": 1, "conditions": [CAPTURED], "findings": FINDINGS}


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            ["Findings: 9 (4 high, 3 medium, 2 low)", "high · app: 2 programs", "node: ", ": 2."],
        ),
        ("de", ["Funde: 9 (4 schwer, 3 mittel, 2 leicht)", "schwer · app: 2 p", "Node: ", ": 2."]),
    ],
)
def test_message_and_thread_show_the_first_findings(language: str, said: list[str]) -> None:
    one = checkpoint(**FOUND)
    for message in (
        root_message(one, MessageOptions("west", language), NOW),
        milestone_message(one, "complete", language),
    ):
        assert message_problems(message.blocks) == []
        shown = words(message.blocks)
        assert all(text in shown for text in said), shown
        assert "\u202e" not in shown and "\x1b" not in shown and "`" not in shown
        assert '"mrkdwn"' not in json.dumps(message.blocks[2:])
    posted = milestone_message(one, "complete", language).payload()["text"]
    assert said[0] in posted and "&lt;!channel&gt;" in posted and "<!" not in posted


def test_that_nothing_was_found_is_said_and_that_nobody_looked_is_not() -> None:
    nothing = milestone_message(checkpoint(**FOUND | {"findings": {}}), "complete", "en")
    assert "Findings: none in what the operator looked at" in words(nothing.blocks)
    silent = milestone_message(checkpoint(**FOUND | {"findings": None}), "complete", "en")
    assert "inding" not in words(silent.blocks)
