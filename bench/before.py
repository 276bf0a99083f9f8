"""`python -m bench.before COMMAND`: what a capture costs, beside another release's.

COMMAND is the `forensics` of an installation of that release: `.venv/bin/forensics` of a worktree.
Both capture the same containers by turns: two with almost nothing in them, and that of the
comparisons with 50 processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click

from bench.goals import publish
from bench.links import LINKS, open_link
from bench.page import PartResult, measured, number, table
from bench.procedures import OURS, Procedure
from bench.runs import Bench, ProcedureRun
from bench.subjects import SMALL_SCALE, SUBJECTS, Contents, running_container
from forensics_core.errors import ForensicsError
from lab.docker import DockerEngine, running_docker_engine
from lab.engine import FOREVER
from lab.process import end_politely

PROCESSES = 50
WAITING = "i=1; while [ $i -lt {} ]; do sleep 1000000 & i=$((i + 1)); done; "
"""What a container runs first, to have so many processes."""


@dataclass(frozen=True, slots=True)
class ComparedContent:
    """A container that both capture."""

    title: str
    contents: Contents
    processes: int = 2

    @property
    def command(self) -> Sequence[str]:
        """What it runs."""
        more = max(self.processes - 1, 1)  # the shell's own `sleep` is one of them
        return (*FOREVER[:-1], WAITING.format(more) + FOREVER[-1])


NOTHING = ComparedContent("almost nothing", Contents())
BUSY = ComparedContent("almost nothing, 50 processes", Contents(), PROCESSES)
WHOLE = ComparedContent("60,000 files and zeros, 50 processes", SUBJECTS["mixed"], PROCESSES)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Runs of one container, each of this release with one of the other."""

    subject: ComparedContent
    rounds: Sequence[Sequence[ProcedureRun]]
    """This release's first."""
    load: float
    """Processes that wanted a processor, on average of the last minute; the capture's too."""

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        ours, theirs = zip(*((own.cost, other.cost) for own, other in self.rounds), strict=True)
        pairs = list(zip(ours, theirs, strict=True))
        return [
            self.subject.title,
            number(median(cost.cpu for cost in theirs)),
            number(median(cost.cpu for cost in ours)),
            number(median(own.cpu / other.cpu for own, other in pairs)),
            number(median(cost.wall for cost in theirs)),
            number(median(cost.wall for cost in ours)),
            number(median(own.wall / other.wall for own, other in pairs)),
            f"{self.load:.1f}",
        ]


_COLUMNS = (
    "container",
    "CPU s before",
    "now",
    "ratio",
    "wall s before",
    "now",
    "ratio",
    "load",
)


def finding(pairs: Sequence[Pairs], release: str) -> PartResult:
    """Return the table."""
    rounds = measured(len(pairs[0].rounds))
    about = f"{rounds}, beside {release}, over HTTP on loopback, on {os.cpu_count()} processors."
    return PartResult("before", f"{about}\n\n{table(_COLUMNS, (each.cells for each in pairs))}")


@click.command()
@click.argument("command", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--runs", type=click.IntRange(1), default=7, show_default=True, help="Rounds.")
@click.option("--quick", is_flag=True, help="Tiny containers, one round: to see that it works.")
@click.option("--release", default="an older release", show_default=True, help="What it is called.")
@click.option(
    "--docs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where performance.md is.  [default: it is only printed]",
)
def main(command: Path, runs: int, quick: bool, release: str, docs: Path | None) -> None:
    """Measure this release's captures beside those of another one, COMMAND."""
    end_politely()
    try:
        with _bench() as (engine, bench, folder):
            procedures = (OURS, _other(command.absolute()))
            pairs = [
                _pairs(
                    engine, bench, folder, _sized(subject, quick), procedures, 1 if quick else runs
                )
                for subject in (NOTHING, BUSY, WHOLE)
            ]
    except ForensicsError as error:
        raise click.ClickException(str(error)) from error
    found = finding(pairs, release)
    print(f"\n{found.text}")
    if docs:
        publish(docs / "performance.md", found)


@contextmanager
def _bench() -> Iterator[tuple[DockerEngine, Bench, Path]]:
    with (
        TemporaryDirectory("", "bench-", os.environ.get("TMPDIR", "/var/tmp")) as name,  # noqa: S108  # on a disk
        running_docker_engine() as engine,
        open_link(LINKS["http"], Path(name)) as sink,
    ):
        yield engine, Bench(engine, sink, Path(name)), Path(name)


def _other(command: Path) -> Procedure:
    script = OURS.script.replace("forensics", str(command), 1)
    return Procedure("before", "another release", script)


def _sized(subject: ComparedContent, quick: bool) -> ComparedContent:
    if not quick:
        return subject
    return ComparedContent(subject.title, subject.contents.scaled(SMALL_SCALE), subject.processes)


def _pairs(
    engine: DockerEngine,
    bench: Bench,
    folder: Path,
    subject: ComparedContent,
    procedures: Sequence[Procedure],
    runs: int,
) -> Pairs:
    with running_container(engine, subject.contents, folder, subject.command) as container:
        if runs > 1:
            for procedure in procedures:  # Nobody is the first to read anything.
                bench.run(procedure, container)
        rounds = bench.rounds(procedures, container, runs, _print_run)
        return Pairs(subject, rounds, os.getloadavg()[0])


def _print_run(run: ProcedureRun) -> None:
    click.echo(
        f"{run.procedure.name:10} {run.cost.cpu:6.2f} CPU s {run.cost.wall:6.2f} s", err=True
    )


if __name__ == "__main__":
    main()
