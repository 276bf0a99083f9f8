"""What the kernel says of itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.node.kernel import decode_taint, describe_kernel, taint
from collector.node.procfs import HOST_PROC


def test_this_kernel(tmp_path: Path) -> None:
    (tmp_path / "lockdown").write_text("none [integrity] confidentiality\n")
    (tmp_path / "lsm").write_text("lockdown,capability,landlock")
    found = describe_kernel(tmp_path)
    assert found["release"] == os.uname().release and found["version"].startswith("Linux version")
    assert found["bootId"] and found["bootTime"] > 0 and float(found["uptime"].split()[0]) > 0
    assert (found["lockdown"], found["securityModules"]) == (
        "integrity",
        "lockdown,capability,landlock",
    )
    assert found["sysctls"]["kernel/core_pattern"] is not None
    assert found["sysctls"]["kernel/hostname"] == os.uname().nodename


def test_a_kernel_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOST_PROC, str(tmp_path))
    found = describe_kernel(tmp_path)
    assert found["bootTime"] is None and found["lockdown"] is None and found["version"] is None
    assert found["taint"] == {"value": 0, "flags": []}


def test_a_taint_is_told_by_letter_and_meaning(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/tainted").write_text("12288\n")
    found = decode_taint(taint(tmp_path))
    assert [(row["letter"], row["meaning"]) for row in found["flags"]] == [
        ("O", "out-of-tree module"),
        ("E", "unsigned module"),
    ]
    (tmp_path / "sys/kernel/tainted").write_text("nonsense")
    assert taint(tmp_path) == 0
    assert decode_taint(1 << 40)["flags"] == [{"bit": 40, "letter": "", "meaning": "unknown"}]
