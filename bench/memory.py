"""The collector's memory against the size of what it captures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.procedures import OURS, OURS_PLAIN
from bench.runs import Bench, Report, Run
from bench.subjects import large_container, room
from lab.docker import Engine
from lab.images import GiB, MiB

SIZES = (GiB, 16 * GiB)
QUICK_SIZES = (8 * MiB, 32 * MiB)
SPARE = GiB
"""Bytes of disk that are left to others."""


@dataclass(frozen=True, slots=True)
class Large:
    """A capture of a container with one large file; `run` is None where there was no room."""

    size: int
    """Bytes of the file."""
    run: Run | None


def measure_memory(
    bench: Bench, engine: Engine, sizes: Sequence[int], folder: Path, report: Report
) -> list[Large]:
    """Capture a container with a file of each size, compressed and not; the file needs its disk."""
    done: list[Large] = []
    for size in sizes:
        if room(engine) < size + SPARE:
            done.append(Large(size, None))
            continue
        with large_container(engine, size, folder) as container:
            for procedure in (OURS, OURS_PLAIN):
                run = bench.run(procedure, container)
                report(run)
                done.append(Large(size, run))
    return done
