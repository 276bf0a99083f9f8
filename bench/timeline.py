"""`python -m bench.timeline`: what time and memory the timeline of a million entries takes.

Four fifths are times of files, each of which has four; the rest are lines of a log. All of them are
in no order, so that sorting costs what it can cost.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import click

from bench.measure import ScriptCost, measure
from bench.page import GOAL_COLUMNS, Goal, goal, measured, table
from bench.part import part_options, run_part
from bench.report import bundle_of
from collector.documents import streamed
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.layout import ROOTFS_INDEX, ROOTFS_LOOKUP, container_file
from forensics_core.bundle.writer import ArtifactSpec
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.rows import Chunk, RowWriter
from lab.process import LabError

MiB = 2**20
ENTRIES, QUICK_ENTRIES = 1_000_000, 5_000
FORMATS = ("table", "timesketch", "csv", "bodyfile")
SECONDS, PEAK = 20, 200
"""What is aimed at, for each format."""
_TIMES = 4
"""Of each file."""
_EPOCH = 1_780_000_000
_PRIME = 7_919
_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class TimelineCosts:
    """What was found out."""

    entries: int
    costs: dict[str, ScriptCost]
    """By format."""


@click.command()
@part_options("Few entries")
def main(quick: bool, docs: Path | None) -> None:
    """Measure the timeline in each format, and write a table."""
    entries = QUICK_ENTRIES if quick else ENTRIES
    run_part(
        "performance.md",
        lambda folder: {"timeline": block(_measure(folder, entries))},
        quick=quick,
        docs=docs,
    )


def block(found: TimelineCosts) -> str:
    """Return the generated part of the page."""
    cpus = len(os.sched_getaffinity(0))
    setting = (
        f"{measured()}, on {cpus} CPUs: `forensics timeline` of a bundle with {found.entries:,} "
        "entries, four fifths of them times of files, the rest lines of a log, in no order."
    )
    return f"{setting}\n\n{table(GOAL_COLUMNS, _goals(found))}"


def _goals(found: TimelineCosts) -> Iterator[list[str]]:
    for name, cost in found.costs.items():
        yield goal(Goal(f"seconds, `--format {name}`", SECONDS), cost.wall)
        # Of a machine that others use as well this is the number that stays.
        yield goal(Goal(f"CPU seconds, `--format {name}`", SECONDS), cost.cpu)
        yield goal(Goal(f"peak MiB, `--format {name}`", PEAK), cost.peak_together / MiB)


def _measure(folder: Path, entries: int) -> TimelineCosts:
    anyio.run(_write, folder / "bundle", entries)
    costs = {}
    for name in FORMATS:
        lines = folder / name
        scratch = folder / f"scratch-{name}"
        scratch.mkdir()
        env = {**os.environ, "TMPDIR": str(scratch), "LINES_OF": str(lines)}
        program = Path(sys.executable).with_name("forensics")
        script = f"{program} timeline {folder}/bundle --format {name} | wc -l > $LINES_OF"
        costs[name] = measure(script, folder=scratch, env=env)
        least = entries // _TIMES if name == "bodyfile" else entries
        if int(lines.read_text()) < least:
            raise LabError(f"The timeline as {name} has {lines.read_text().strip()} lines only")
    return TimelineCosts(entries, costs)


async def _write(folder: Path, entries: int) -> None:
    """Write a bundle with so many."""
    files = entries * 4 // 5 // _TIMES
    chunks = _chunks(files)
    async with bundle_of(folder) as bundle:
        spec = ArtifactSpec(container_file("web", "diff.json"), ArtifactKind.DIFF, "web")
        await bundle.add(spec, streamed({"method": "bench"}, "changes", _changes(files // 10)))
        rows = (each.data for each in chunks)
        await bundle.add(_spec(ROOTFS_INDEX), _each(rows), framed=True)
        await bundle.add(_spec(ROOTFS_LOOKUP), _each(each.lookup for each in chunks))
        spec = ArtifactSpec(container_file("web", "logs/0.log"), ArtifactKind.LOGS, "web")
        await bundle.add(spec, _each(_log(entries // 5)))


def _spec(file: str) -> ArtifactSpec:
    name, kind = container_file("web", file), ArtifactKind.FILESYSTEM
    return ArtifactSpec(name, kind, "web", compression=Compression.ZSTD)


def _path(number: int) -> str:
    return f"/srv/shop/data/{number // 5000:03}/{number // 100 % 50:02}/{number:07}.json"


def _chunks(files: int) -> list[Chunk]:
    rows = RowWriter()
    for number in range(files):
        base = _EPOCH + number * _PRIME % (files * 3)
        moments = (f"{base + place * files}.{number % 10**9:09}" for place in range(_TIMES))
        mtime, atime, ctime, btime = moments
        path, size = _path(number).encode(), number % 90_000
        member = Member(path, "file", 0o644, 1000, 1000, size, mtime, atime, ctime)
        member.btime, member.inode = btime, (number + 11, 254, 1)
        member.sha256 = f"{number * 2654435761:064x}"[-64:]
        rows.add(member)
    return rows.take_rest()


async def _changes(count: int) -> AsyncIterator[list[str]]:
    for number in range(count):
        yield [json.dumps({"kind": "A", "path": _path(number * 10)})]


def _log(lines: int) -> Iterator[bytes]:
    for begin in range(0, lines, _AT_ONCE):
        yield "".join(
            _line(number) for number in range(begin, min(begin + _AT_ONCE, lines))
        ).encode()


def _line(number: int) -> str:
    second = f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
    when = f"2026-{number * _PRIME % 12 + 1:02}-{number % 28 + 1:02}T{second}.{number % 10**9:09}Z"
    text = f'10.0.0.7 - "GET /cart/{number} HTTP/1.1" 200 {number % 9000}'
    return f'{{"log":{json.dumps(text)},"stream":"stdout","time":"{when}"}}\n'


async def _each(several: Iterator[bytes]) -> AsyncIterator[bytes]:
    for one in several:
        yield one


if __name__ == "__main__":
    main()
