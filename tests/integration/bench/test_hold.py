from __future__ import annotations

from pathlib import Path

import pytest

from bench.hold import blocks
from tests.integration.bench.quick import quick_page


@pytest.mark.timeout(240)
def test_the_benchmark_of_held_pods_with_a_few(tmp_path: Path) -> None:
    page = quick_page("hold", tmp_path)
    assert "CPUs: 3 pods, deleted one after the other" in page
    assert "| seconds from `Captured` until a held pod is gone | 2 |" in page


def test_the_longest_is_judged() -> None:
    found = blocks([0.5, 1.0, 3.0])["hold"]
    assert "| seconds from `Captured` until a held pod is gone | 2 | 3 | **not met** |" in found
    assert "| the same, median | 2 | 1 | met |" in found
