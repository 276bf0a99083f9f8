"""`python -m bench`: run the benchmark, and write its results to `docs/`."""

from __future__ import annotations

import compileall
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.machine import describe_machine
from bench.memory import QUICK_SIZES, SIZES, measure_memory
from bench.plot import draw
from bench.procedures import NOWHERE, PROCEDURES, Procedure
from bench.report import Results, blocks, update
from bench.runs import Bench, Run
from bench.sink import ROOT, remote_sink
from bench.subjects import QUICK, Contents, busy_container
from bench.summary import summarize
from forensics_core.errors import ForensicsError
from lab.docker import running_docker_engine
from lab.images import MiB
from lab.process import end_politely

MEMORY = "memory"
NAMES = [*(procedure.name for procedure in PROCEDURES), MEMORY]
DISK = "/var/tmp"  # noqa: S108  # on a disk, where /tmp may be memory; only folders of our own
"""Where scratch files go unless TMPDIR says otherwise."""


@click.command()
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Rounds.")
@click.option("--files", type=click.IntRange(1), help="Small files.  [default: 60000]")
@click.option("--quick", is_flag=True, help="A tiny container, one round: to see that it works.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(NAMES),
    help="Measure only this; may be repeated.  [default: everything]",
)
@click.option(
    "--docs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where performance.md and images/ are.  [default: docs/ after a whole run, else nowhere]",
)
def main(
    runs: int, files: int | None, quick: bool, only: tuple[str, ...], docs: Path | None
) -> None:
    """Measure captures against what people do by hand, and write tables and a plot."""
    end_politely()
    contents = QUICK if quick else Contents()
    contents = contents.with_files(files) if files else contents
    if not (quick or only or files or docs):
        docs = ROOT / "docs"
    try:
        results = _measure(contents, 1 if quick else runs, QUICK_SIZES if quick else SIZES, only)
        _publish(results, docs)
    except ForensicsError as error:
        raise click.ClickException(str(error)) from error


def _publish(results: Results, docs: Path | None) -> None:
    for block in blocks(results).values():
        print(f"\n{block}")
    if docs:
        update(docs / "performance.md", results)
    if docs and results.rows:
        draw(results.rows, docs / "images" / "bench.png")


def _measure(contents: Contents, runs: int, sizes: Sequence[int], only: tuple[str, ...]) -> Results:
    procedures = [each for each in PROCEDURES if not only or each.name in only]
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(TemporaryDirectory("", "bench-", os.environ.get("TMPDIR", DISK)))
        )
        engine = stack.enter_context(running_docker_engine())
        bench = Bench(engine, stack.enter_context(remote_sink()), folder)
        _compile()
        rounds: list[list[Run]] = []
        if procedures:
            with busy_container(engine, contents, folder) as container:
                rounds = _rounds(bench, procedures, container, runs)
        large = []
        if not only or MEMORY in only:
            large = measure_memory(bench, engine, sizes, folder, _say)
        setting = _setting(describe_machine(engine), contents, runs)
    return Results(setting, summarize(rounds), large)


def _rounds(
    bench: Bench, procedures: Sequence[Procedure], container: str, runs: int
) -> list[list[Run]]:
    bench.run(NOWHERE, container)  # Everything is read once before anybody is measured.
    return bench.rounds(procedures, container, runs, _say)


def _compile() -> None:
    """Compile our packages, as an installer would have done."""
    for package in ("forensics_core", "collector"):
        compileall.compile_dir(ROOT / package, quiet=2)


def _setting(machine: str, contents: Contents, runs: int) -> str:
    times = "once" if runs == 1 else f"in {runs} rounds"
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {times}, on a container with {contents.files:,}"
        f" small files and one large one, {contents.size / 1e9:.2f} GB together. {machine}."
    )


def _say(run: Run) -> None:
    cost = run.cost
    print(
        f"{run.procedure.name:16} {cost.wall:8.2f} s  {cost.cpu:7.2f} CPU s"
        f"  {cost.peak_together / MiB:6.0f} MiB peak  {cost.written / MiB:7.0f} MiB scratch"
        f"  {run.stored / MiB:7.0f} MiB stored",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main()
