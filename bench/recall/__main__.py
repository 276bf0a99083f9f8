"""`python -m bench.recall`: measure recall, and write the results to `docs/recall.md`."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import click

from bench.machine import describe_machine
from bench.page import fill, measured
from bench.recall.contestants import ACQUIRE, CONTESTANTS, VARC
from bench.recall.judge import TraceOutcome, count
from bench.recall.measure import Round, measure
from bench.recall.page import parts
from bench.recall.plot import PICTURE, draw
from bench.sink import ROOT
from forensics_core.errors import ForensicsError
from lab.containerd import Containerd, running_containerd
from lab.docker import DockerEngine, running_docker_engine
from lab.intruder.container import CONTAINERD, DOCKER
from lab.process import end_politely

DISK = "/var/tmp"  # noqa: S108  # on a disk, where /tmp may be memory; only folders of our own
"""Where scratch files go unless TMPDIR says otherwise."""


@click.command()
@click.option("--runtime", "runtimes", multiple=True, type=click.Choice([DOCKER, CONTAINERD]))
@click.option(
    "--tool", "tools", multiple=True, type=click.Choice([each.name for each in CONTESTANTS])
)
@click.option(
    "--docs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where recall.md and images/ are.  [default: docs/, unless something is left out]",
)
def main(runtimes: tuple[str, ...], tools: tuple[str, ...], docs: Path | None) -> None:
    """Plant an intruder's traces, and count who brings home how many of them."""
    end_politely()
    if not (docs or runtimes or tools):
        docs = ROOT / "docs"
    try:
        _measure(runtimes or (DOCKER, CONTAINERD), tools, docs)
    except ForensicsError as error:
        raise click.ClickException(str(error)) from error


def _measure(runtimes: tuple[str, ...], tools: tuple[str, ...], docs: Path | None) -> None:
    rounds, machine = [], ""
    for runtime in runtimes:
        start: AbstractContextManager[DockerEngine | Containerd]
        start = running_docker_engine() if runtime == DOCKER else running_containerd()
        with (
            start as engine,
            TemporaryDirectory("", "recall-", os.environ.get("TMPDIR", DISK)) as name,
        ):
            machine = machine or _describe(engine)
            rounds.append(anyio.run(measure, runtime, Path(name), tools, engine))
            _print_round(rounds[-1])
    if docs:
        setting = f"{measured()}, {machine}; {VARC.packages[0]}, {ACQUIRE.packages[0]}."
        fill(docs / "recall.md", parts(rounds, setting))
        draw(rounds, docs / "images" / PICTURE)


def _describe(engine: DockerEngine | Containerd) -> str:
    if isinstance(engine, DockerEngine):
        said = subprocess.run(
            ["containerd", "--version"], capture_output=True, text=True, check=False
        )
        return f"on {describe_machine(engine)}; {' '.join(said.stdout.split()[:3])}"
    return "on containerd"


def _print_round(found: Round) -> None:
    for name, verdicts in found.verdicts.items():
        counts = count(verdicts)
        line = ", ".join(f"{counts[outcome]} {outcome}" for outcome in TraceOutcome)
        print(f"{found.runtime:12} {name:16} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
