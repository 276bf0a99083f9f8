from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.hold import blocks
from bench.sink import ROOT


@pytest.mark.timeout(240)
def test_the_benchmark_of_held_pods_with_a_few(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "performance.md", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "bench.hold", "--quick", "--docs", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "performance.md").read_text()
    assert "CPUs: 3 pods, deleted one after the other" in page
    assert "| seconds from `Captured` until a held pod is gone | 2 |" in page


def test_the_longest_is_judged() -> None:
    found = blocks([0.5, 1.0, 3.0])["hold"]
    assert "| seconds from `Captured` until a held pod is gone | 2 | 3 | **not met** |" in found
    assert "| the same, median | 2 | 1 | met |" in found
