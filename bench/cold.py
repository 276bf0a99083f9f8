"""Captures of what lies on the disk only, beside the pipeline by hand.

Before each run the files' pages leave the page cache: they are written back, and posix_fadvise(2)
says that nobody needs them. Nothing else of the machine forgets anything; names and attributes,
which the kernel keeps elsewhere, stay known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from bench.page import Bound, PartResult, measured
from bench.procedures import OURS, OURS_PLAIN, READ, TAR
from bench.runs import Bench, ProcedureRun, RunListener
from bench.sink import RemoteSink
from bench.subjects import Contents, running_container
from bench.summary import ratio, short_table
from lab.docker import DockerEngine
from lab.images import MiB

CONTENTS = Contents(files=20_000, small=250 * MiB, text=375 * MiB, noise=375 * MiB, large=3)
PROCEDURES = (OURS, OURS_PLAIN, READ, TAR)


@dataclass(frozen=True, slots=True)
class ColdRuns:
    """Rounds of captures, each of files that were forgotten before."""

    words: str
    """What the container held."""
    rounds: Sequence[Sequence[ProcedureRun]]


def measure_cold(
    engine: DockerEngine,
    sink: RemoteSink,
    contents: Contents,
    folder: Path,
    runs: int,
    report: RunListener,
) -> ColdRuns:
    """Capture a container in rounds, its files out of the page cache before each run."""
    with running_container(engine, contents, folder) as container:
        root = Path(f"/proc/{anyio.run(engine.pid, container)}/root")
        bench = Bench(engine, sink, folder, lambda: forget(root))
        return ColdRuns(contents.words, bench.rounds(PROCEDURES, container, runs, report))


def forget(root: Path) -> None:
    """Have the page cache forget the files below a folder, those of its file system only."""
    os.sync()  # What is still to be written stays.
    for path in _files(root):
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def _files(root: Path) -> Iterator[str]:
    here = root.stat().st_dev
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if os.lstat(f"{folder}/{name}").st_dev == here]
        yield from (f"{folder}/{name}" for name in files)


def finding(cold: ColdRuns) -> PartResult:
    """Return the table."""
    about = f"{measured(len(cold.rounds))}, over HTTP on loopback: a container with {cold.words}."
    text = f"{about}\n\n{short_table(cold.rounds, TAR)}"
    goals = {"cold": ratio(cold.rounds, OURS, TAR)}
    reading = ratio(cold.rounds, READ, TAR) or 0
    return PartResult("cold", text, goals, {"cold": Bound(reading, "reading alone, from the disk")})
