"""Memory against the size of what is captured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.goals import bounds
from bench.page import PartResult, measured, table
from bench.procedures import OURS, OURS_PLAIN, TAR
from bench.runs import Bench, ProcedureRun, RunListener
from bench.subjects import Contents, room, running_container
from lab.docker import DockerEngine
from lab.images import GiB, MiB

SIZES = (GiB, 4 * GiB, 16 * GiB)
QUICK_SIZES = (8 * MiB, 32 * MiB)
SPARE = GiB
"""Bytes of disk that are left to others."""
PROCEDURES = (OURS, OURS_PLAIN, TAR)


@dataclass(frozen=True, slots=True)
class LargeFileCapture:
    """A capture of a container with one large file; `run` is None where there was no room."""

    size: int
    """Bytes of the file."""
    run: ProcedureRun | None


def measure_memory(
    bench: Bench, engine: DockerEngine, sizes: Sequence[int], folder: Path, report: RunListener
) -> list[LargeFileCapture]:
    """Capture a container with a file of each size, in several ways; the file needs its disk."""
    done = [LargeFileCapture(0, _nothing(bench, engine, folder))]
    for size in sizes:
        if room(engine) < size + SPARE:
            done.append(LargeFileCapture(size, None))
            continue
        with running_container(engine, Contents(noise=size), folder) as container:
            for procedure in PROCEDURES:
                run = bench.run(procedure, container)
                report(run)
                done.append(LargeFileCapture(size, run))
    return done


def _nothing(bench: Bench, engine: DockerEngine, folder: Path) -> ProcedureRun:
    with running_container(engine, Contents(), folder) as container:
        return bench.run(OURS, container)


def finding(large: Sequence[LargeFileCapture]) -> PartResult:
    """Return the table of what captures of large files cost."""
    text = f"{measured()}.\n\n{table(_COLUMNS, map(_cells, large))}"
    goals = dict(_goals(large))
    nothing = [each.run.cost.peak_together / MiB for each in large if not each.size and each.run]
    best = bounds(dict.fromkeys(goals, nothing[0]), "that of almost nothing") if nothing else {}
    return PartResult("memory", text, goals, best)


def _goals(large: Sequence[LargeFileCapture]) -> Iterator[tuple[str, float | None]]:
    for size in sorted({each.size for each in large} & set(SIZES)):
        runs = [each.run for each in large if each.size == size and each.run]
        own = [run.cost.peak_together for run in runs if run.procedure in {OURS, OURS_PLAIN}]
        yield f"memory-{size // GiB}", max(own) / MiB if own else None


_COLUMNS = (
    "file",
    "procedure",
    "wall s",
    "MiB/s",
    "CPU s per GiB",
    "peak MiB, largest process",
    "peak MiB, all processes",
    "scratch MiB",
    "stored MiB",
)


def _cells(large: LargeFileCapture) -> list[str]:
    if large.run is None:
        return [_size(large.size), "not measured: no room on the disk", *[""] * 7]
    cost, gib = large.run.cost, large.size / GiB
    return [
        _size(large.size),
        large.run.procedure.title,
        f"{cost.wall:.2f}",
        f"{large.size / MiB / cost.wall:.0f}",
        f"{cost.cpu / gib:.2f}" if gib else "",
        *(
            f"{size / MiB:.0f}"
            for size in (cost.peak, cost.peak_together, cost.written, large.run.stored)
        ),
    ]


def _size(size: int) -> str:
    if not size:
        return "almost nothing"
    return f"{size // GiB} GiB" if size % GiB == 0 else f"{size // MiB} MiB"
