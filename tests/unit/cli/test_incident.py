"""How many pods of one incident are shown, and what is refused before any request."""

from __future__ import annotations

import inspect
from typing import Any, Unpack

import pytest
from click.testing import CliRunner, Result

from forensics_core.api.incident import IncidentSummary
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.api.selection import LIMIT
from forensics_core.checkpoints import Cluster
from forensics_core.checkpoints.options import CheckpointOptions
from forensics_core.cli.incident_checkpoint import CAPTURE_OPTIONS, incident_checkpoint_command
from forensics_core.cli.incident_status import (
    FEW,
    IncidentChanges,
    description,
    live_lines,
    raise_for_incident,
)
from forensics_core.cli.main import forensics
from forensics_core.cli.request import checkpoint_command
from forensics_core.cli.watching import CapturedInPart
from forensics_core.errors import ForensicsError
from tests.unit.cli.test_checkpoints import condition

CAPTURED = condition("Captured", "ManifestFound", "")
FAILED = condition("Failed", "PodGone", "It is \x1b[2J no more.")
PARTIAL = condition("Partial", "Gone", "the log went")
FOUND = {
    "total": 1,
    "bySeverity": {"high": 1},
    "first": [{"rule": "cron", "severity": "High", "container": "", "message": "A job \u202e"}],
}


def one(pod: str, phase: str = "", *conditions: dict[str, Any], **status: Any) -> PodCheckpoint:
    told = {"conditions": list(conditions), "podUID": f"uid-{pod}"} | status
    return PodCheckpoint.parse(
        {
            "metadata": {"name": f"{pod}-x", "namespace": "forensics-system"},
            "spec": {"pod": pod, "namespace": "shop"},
            "status": told | ({"phase": phase} if phase else {}),
        }
    )


def many(number: int, phase: str = "Capturing") -> list[PodCheckpoint]:
    return [one(f"web-{each:02}", phase) for each in range(number)]


def summed(*checkpoints: PodCheckpoint) -> IncidentSummary:
    return IncidentSummary.of("INC-7", checkpoints)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(forensics, ["incident", *arguments])


def test_few_pods_have_a_line_each_and_names_are_harmless() -> None:
    summary = summed(
        one("a", "Complete", CAPTURED, findings=FOUND, bytes=2048, size="2.0 KiB"),
        one("b", "Complete", CAPTURED, findings=FOUND),
        one("c", "Failed", FAILED),
        one("d", "Complete", CAPTURED, PARTIAL),
        one("e", "Pending", condition("Captured", "NodeBusy", "Others") | {"status": "False"}),
    )
    lines = list(description(summary))
    assert lines[:5] == [
        "INC-7: 3 of 5 pods may be killed",
        "Phases:    1 Pending, 3 Complete, 1 Failed",
        "Evidence:  2.00 KiB",
        "Findings:  2 high",
        "May be killed: shop/a, shop/b, shop/d",
    ]
    text = "\n".join(lines)
    assert "shop/e" in text and "NodeBusy" in text
    # Escaped once by the status, whose backslash a table doubles.
    assert "PodGone: It is \\\\x1b[2J no more." in text and "Gone: the log went" in text
    assert "High      shop/a and 1 more  (node)     A job \\\\u202e" in text


def test_many_pods_are_counted_by_phase() -> None:
    lines = list(description(summed(*many(FEW + 1))))
    assert lines == ["INC-7: 0 of 31 pods may be killed", "Phases:    31 Capturing"]
    assert len(list(description(summed(*many(FEW))))) == 2 + 1 + 1


def test_on_a_small_terminal_phases_are_counted_sooner() -> None:
    tables = [line for line in live_lines(summed(*many(9)), 24) if "CHECKPOINT" in line]
    assert len(tables) == 1
    assert not [line for line in live_lines(summed(*many(9)), 12) if "CHECKPOINT" in line]


def test_in_a_pipe_each_pod_is_told_once_and_each_change_of_the_counts() -> None:
    news = IncidentChanges()
    first = summed(one("a"), one("b", "Capturing"))
    assert list(news.lines(first)) == ["0 of 2 pods may be killed (1 Pending, 1 Capturing)"]
    assert list(news.lines(first)) == []
    later = summed(one("a", "Failed", FAILED), one("b", "Sealing", CAPTURED))
    assert list(news.lines(later)) == [
        "shop/a failed: PodGone: It is \\x1b[2J no more.",
        "shop/b may be killed",
        "1 of 2 pods may be killed (1 Sealing, 1 Failed)",
    ]
    last = summed(one("a", "Failed", FAILED), one("b", "Complete", CAPTURED))
    assert list(news.lines(last)) == ["1 of 2 pods may be killed (1 Complete, 1 Failed)"]


def test_the_end_of_an_incident_says_whether_all_is_there() -> None:
    good = one("a", "Complete", CAPTURED)
    raise_for_incident(summed(good))
    with pytest.raises(CapturedInPart, match="Of 2 pods 1 failed, and of 0 something"):
        raise_for_incident(summed(good, one("b", "Failed", FAILED)))
    with pytest.raises(CapturedInPart, match="Of 1 pods 0 failed, and of 1 something"):
        raise_for_incident(summed(one("b", "Complete", CAPTURED, PARTIAL)))
    with pytest.raises(ForensicsError, match="Of 1 pods 1 failed") as raised:
        raise_for_incident(summed(one("b", "Failed", FAILED)))
    assert raised.value.exit_code == 1


def test_the_group_has_three_subcommands_and_its_help_names_them() -> None:
    for arguments in (("--help",), ("INC-7", "--help")):
        shown = run(*arguments)
        assert shown.exit_code == 0
        assert all(name in shown.stdout for name in ("checkpoint", "report", "status"))
    unknown = run("INC-7", "nonsense")
    assert unknown.exit_code == 2 and "nonsense" in unknown.stderr


@pytest.mark.parametrize("name", ["INC 7", "", "-7", "x" * 64, "7\n", "\x1b[2J"])
def test_what_is_no_id_is_refused_before_any_cluster_is_asked(name: str) -> None:
    done = run("--", name, "status")
    assert done.exit_code == 2 and "is not an incident's id" in done.stderr
    assert "\x1b" not in done.stderr


def test_many_pods_are_captured_with_all_options_of_one() -> None:
    own = {"pod", "namespace", "name", "incident", "wait", "timeout", "dry_run"}
    one_pod = {each.name for each in checkpoint_command.params} - own
    assert one_pod <= {each.name for each in incident_checkpoint_command.params}
    assert {each.name for each in CAPTURE_OPTIONS} <= one_pod
    options = inspect.signature(Cluster.checkpoint, eval_str=True).parameters["options"]
    assert options.annotation == Unpack[CheckpointOptions]


def test_the_limit_is_the_librarys() -> None:
    (limit,) = [each for each in incident_checkpoint_command.params if each.name == "limit"]
    assert limit.default == LIMIT
