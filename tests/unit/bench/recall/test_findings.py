"""What of a scene the rules saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.recall.findings import COVERED, findings_of, page_part, seen
from forensics_core.readers.findings.finding import Finding, Rule
from lab.intruder.container import PlantedTrace, catalogue
from lab.intruder.on_disk import new_image
from lab.intruder.trace import Trace, words
from lab.process import LabError


def planted(name: str, *steps: str, content: str = "", known: str = "") -> PlantedTrace:
    trace = Trace(
        name,
        "x",
        f"a {name}",
        (steps,),
        words(*filter(None, [content])),
        words(*filter(None, [known])),
    )
    return PlantedTrace(trace, trace.content, trace.known, "")


def finding(rule: Rule, subject: str, detail: str = "") -> Finding:
    return Finding(rule, "web", subject, detail, "x")


def test_a_trace_is_seen_where_a_finding_of_its_rule_names_it() -> None:
    scene = [
        planted("cron", "file", "/var/spool/cron/root", content="km1"),
        planted("setuid", "file", "/bin/kn1", content="km2", known="kn1"),
        planted("environment", "environment", content="km3"),
        planted("exec", "exec", content="km4"),
        planted("heap", "heap", content="km5"),
    ]
    found = [
        finding(Rule.CRON, "/var/spool/cron/root"),
        finding(Rule.NEW_EXECUTABLE, "/bin/kn1"),
        finding(Rule.SECRET, "process 7", "the variable AWS_SECRET_ACCESS_KEY"),
        finding(Rule.ENTERED, "process 8 sh", "sh -c km9"),
    ]
    result = seen(scene, found)
    assert result == {"cron": True, "setuid": False, "environment": True, "exec": False}
    table = page_part([("docker", {"cron": "a cron job", "exec": "a session"}, result)])
    assert "| a cron job | `cron` | found |" in table
    assert "| a session | `process-from-outside` | **not found** |" in table
    other = page_part([("containerd", {"cron": "a cron job"}, {})])
    assert "| a cron job | `cron` | not planted |" in other


def test_every_trace_with_a_rule_is_in_the_scene() -> None:

    assert COVERED.keys() <= {trace.id for trace in catalogue(new_image(), "docker")}


def test_findings_are_of_one_bundle(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="There are 0 bundles"):
        findings_of(tmp_path)
