"""checkov over all that is installed or made: what it finds has been seen, and has a reason."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.operator.attempt.jobs import build_job
from forensics_core.operator.settings import (
    CollectorCredentials,
    CollectorSettings,
    DestinationRule,
)
from tests.unit.deploy.manifests import DEPLOY, REPOSITORY, rendered

CHECKOV = REPOSITORY / ".lab" / "checkov" / "bin" / "checkov"
SUBJECTS = {"Deployment": "operator", "Job": "job", "Dockerfile": "image"}
ACCEPTED: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "accepted-findings.yaml").read_text())

Finding = tuple[str, str]
"""The check's ID, and what it is about."""


def job() -> str:
    checkpoint = PodCheckpoint.parse(
        {
            "metadata": {"name": "web", "namespace": "forensics-system", "uid": "5df8120f"},
            "spec": {"pod": "web-0"},
            "status": {"jobName": "web-5df8120f-1", "attempt": 1, "node": "node-1"},
        }
    )
    keys = CollectorCredentials.model_validate({"secret": "collector-s3"})
    rule = DestinationRule(prefix="s3://my-bucket", credentials=keys)
    return yaml.safe_dump(build_job(checkpoint, rule, CollectorSettings(image="tool:1.0"), 3600))


def findings(folder: Path) -> set[Finding]:
    """Let checkov look at a folder, without any network, and return what it finds."""
    what = ["--directory", str(folder), "--framework", "kubernetes", "dockerfile"]
    how = ["--skip-download", "--output", "json", "--quiet", "--compact", "--soft-fail"]
    answer = subprocess.run([CHECKOV, *what, *how], check=True, capture_output=True, text=True)
    failed = [check for report in _reports(answer.stdout) for check in report["failed_checks"]]
    return {(check["check_id"], _subject(check)) for check in failed}


def _reports(output: str) -> list[dict[str, Any]]:
    """Return the results of each framework; a single one comes without a list around it."""
    answer = json.loads(output)
    reports = answer if isinstance(answer, list) else [answer]
    assert all(report["summary"]["resource_count"] for report in reports), "nothing was looked at"
    return [report["results"] for report in reports]


def _subject(check: dict[str, Any]) -> str:
    if Path(check["file_path"]).name == "Dockerfile":
        return "image"
    resource: str = check["resource"]
    return SUBJECTS.get(resource.partition(".")[0], resource)


@pytest.mark.timeout(180)
def test_every_finding_is_accepted_and_every_acceptance_needed(tmp_path: Path) -> None:
    (tmp_path / "rendered.yaml").write_text(f"{rendered()}---\n{job()}")
    (tmp_path / "Dockerfile").write_text((DEPLOY / "image" / "Dockerfile").read_text())
    accepted = {(entry["check"], subject) for entry in ACCEPTED for subject in entry["where"]}
    assert findings(tmp_path) == accepted


@pytest.mark.parametrize("entry", ACCEPTED, ids=lambda entry: entry["check"])
def test_whoever_installs_this_is_told(entry: dict[str, Any]) -> None:
    assert entry["why"]
    assert entry["check"] in (REPOSITORY / "docs" / "security.md").read_text()
