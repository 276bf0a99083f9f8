"""Logs of the image that were removed, and those that were only rotated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forensics_core.bundle.reader import open_bundle
from forensics_core.readers.findings.find import find
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.findings.removed import MAX_LOGS, RemovedLogs
from tests.unit.readers.evidence import change, write_evidence


def removed(*rows: dict[str, Any]) -> dict[str, str]:
    logs = RemovedLogs()
    for row in rows:
        logs.note(row)
    return dict(logs.found())


def test_a_removed_log_is_told_with_what_the_image_has() -> None:
    assert removed(
        change("/var/log/auth.log", "D", size=120),
        change("/var/log/apt", "D", type="directory"),
        change("/run/utmp", "D"),
    ) == {
        "/var/log/auth.log": "removed; in the image it is a file of 120 bytes",
        "/var/log/apt": "removed; in the image it is a directory",
        "/run/utmp": "removed; in the image it is a file of 5 bytes",
    }


@pytest.mark.parametrize(
    "kept", ["x.log.1", "x.log.0", "x.log.1.gz", "x.log-20261128", "x.log-20261128.xz", "x.log.old"]
)
def test_a_rotated_log_is_not_removed(kept: str) -> None:
    gone, rotated = change("/var/log/x.log", "D"), change(f"/var/log/{kept}")
    assert removed(gone, rotated) == removed(rotated, gone) == {}


def test_the_oldest_of_rotated_logs_goes() -> None:
    assert not removed(change("/var/log/x.log.9.gz", "D"), change("/var/log/x.log.1", "C"))


@pytest.mark.parametrize(
    "decoy",
    [
        change("/var/log/auth.log.1", size=0),
        change("/var/log/auth.log.bak"),
        change("/var/log/other.log.1"),
        change("/tmp/auth.log.1"),
        change("/var/log/auth.log.1", "D"),
    ],
)
def test_nothing_else_passes_for_a_rotation(decoy: dict[str, Any]) -> None:
    assert "/var/log/auth.log" in removed(change("/var/log/auth.log", "D"), decoy)


def test_what_is_no_log_is_not_remembered() -> None:
    assert not removed(change("/tmp/x", "D"), change("/var/logs/x", "D"), {"kind": "D"}, {})


def test_no_container_fills_the_memory_with_them() -> None:
    rows = [change(f"/var/log/{number}", "D") for number in range(MAX_LOGS + 5)]
    rows += [change(f"/var/log/r{number}.1") for number in range(MAX_LOGS + 5)]
    assert len(removed(*rows)) == MAX_LOGS


async def test_the_report_names_a_removed_log(tmp_path: Path) -> None:
    rows = [change("/var/log/wtmp", "D"), change("/var/log/dpkg.log", "D")]
    rows.append(change("/var/log/dpkg.log.1"))
    folder = await write_evidence(tmp_path / "bundle", rows)
    async with open_bundle(str(folder)) as bundle:
        found = await find(bundle)
    assert [(each.rule, each.path) for each in found.findings] == [
        (Rule.LOG_REMOVED, "/var/log/wtmp")
    ]
