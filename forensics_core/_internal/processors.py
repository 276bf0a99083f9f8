"""How many processors this process may use: those it may run on, within its control group's limit.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu
"""

from __future__ import annotations

import math
import os
from pathlib import Path

MAX_COMPRESSORS = 8
"""Blocks that are compressed at once, at most: each takes some 10 MiB, and more cores than these
wait for the other steps, which one core does alone."""
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def usable_processors(control_groups: Path = _CONTROL_GROUPS) -> int:
    """Return how many can be busy at once, at least 1; a limit of 1.5 counts as 2.

    `control_groups` is where the control groups are mounted, which in a container shows its own.
    """
    return max(1, min(len(os.sched_getaffinity(0)), _limit(control_groups)))


def compressors(processors: int | None = None) -> int:
    """Return how many blocks to compress at once: two where there is one processor, too.

    One that is being compressed and one that is ready keep the step behind it busy.
    """
    return min(max(processors or usable_processors(), 2), MAX_COMPRESSORS)


def _limit(control_groups: Path) -> int:
    quota, period = _version_2(control_groups) or _version_1(control_groups) or (0, 0)
    # Version 1 spells no limit as -1.
    return math.ceil(quota / period) if quota > 0 and period > 0 else MAX_COMPRESSORS


def _version_2(control_groups: Path) -> tuple[int, int] | None:
    try:
        quota, period = (control_groups / "cpu.max").read_text().split()
        return (0, 0) if quota == "max" else (int(quota), int(period))
    except (OSError, ValueError):
        return None


def _version_1(control_groups: Path) -> tuple[int, int] | None:
    folder = control_groups / "cpu"
    try:
        return (
            int((folder / "cpu.cfs_quota_us").read_text()),
            int((folder / "cpu.cfs_period_us").read_text()),
        )
    except (OSError, ValueError):
        return None
