"""How many processors may be busy: those of this process, within the limit of its control group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forensics_core._internal.processors import MAX_COMPRESSORS, compressors, usable_processors

HERE = min(len(os.sched_getaffinity(0)), MAX_COMPRESSORS)


@pytest.mark.parametrize(
    ("limit", "most"),
    [
        ("max 100000", MAX_COMPRESSORS),
        ("50000 100000", 1),
        ("150000 100000", 2),
        ("1000000 100000", 10),
        ("nonsense", MAX_COMPRESSORS),
        ("1 2 3", MAX_COMPRESSORS),
    ],
)
def test_a_limit_of_version_2_is_rounded_up(limit: str, most: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert usable_processors(tmp_path) == min(HERE, most)


@pytest.mark.parametrize(
    ("quota", "most"), [("-1", MAX_COMPRESSORS), ("20000", 1), ("x", MAX_COMPRESSORS)]
)
def test_a_limit_of_version_1_counts_too(quota: str, most: int, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_processors(tmp_path) == min(HERE, most)


def test_without_control_groups_all_processors_count(tmp_path: Path) -> None:
    assert usable_processors(tmp_path) == HERE


@pytest.mark.parametrize(("processors", "blocks"), [(1, 2), (2, 2), (6, 6), (64, MAX_COMPRESSORS)])
def test_as_many_blocks_are_compressed_at_once_as_processors_can(
    processors: int, blocks: int
) -> None:
    assert compressors(processors) == blocks


def test_this_machine_has_some() -> None:
    assert 2 <= compressors() <= MAX_COMPRESSORS
