"""`python -m bench`: run the benchmark, and write its results to `docs/`."""

from __future__ import annotations

import compileall
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench import cases, cat, cold, containerd, memory, profile, readers, scan
from bench.cases import Case, CaseResult, compare, select
from bench.goals import publish
from bench.judgement import PROFILED
from bench.links import LINKS, open_link
from bench.machine import describe_machine
from bench.page import PartResult
from bench.plot import draw, picture
from bench.procedures import PROCEDURES
from bench.runs import Bench, ProcedureRun
from bench.sink import ROOT
from bench.subjects import SMALL_SCALE, SUBJECTS, Contents, running_container
from forensics_core.errors import ForensicsError
from lab.docker import DockerEngine, running_docker_engine
from lab.images import MiB
from lab.process import end_politely

PARTS = ("cases", "profile", "cold", "containerd", "cat", "readers", "scan", "memory")
DISK = "/var/tmp"  # noqa: S108  # on a disk, where /tmp may be memory; only folders of our own
"""Where scratch files go unless TMPDIR says otherwise."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is measured, and how much of it."""

    parts: Collection[str]
    cases: Sequence[Case]
    procedures: Collection[str]
    """By name; all of them if empty."""
    runs: int
    quick: bool

    def size(self, contents: Contents) -> Contents:
        """Return what a container is to hold."""
        return contents.scaled(SMALL_SCALE) if self.quick else contents


@click.command()
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Rounds.")
@click.option("--quick", is_flag=True, help="Tiny containers, one round: to see that it works.")
@click.option("--only", "parts", multiple=True, type=click.Choice(PARTS), help="Only this part.")
@click.option("--subject", "subjects", multiple=True, type=click.Choice([*SUBJECTS]))
@click.option("--link", "links", multiple=True, type=click.Choice([*LINKS]))
@click.option(
    "--procedure",
    "procedures",
    multiple=True,
    type=click.Choice([each.name for each in PROCEDURES]),
    help="Compare only this one.",
)
@click.option(
    "--docs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where performance.md and images/ are.  [default: docs/, unless it is quick]",
)
def main(
    runs: int,
    quick: bool,
    parts: tuple[str, ...],
    subjects: tuple[str, ...],
    links: tuple[str, ...],
    procedures: tuple[str, ...],
    docs: Path | None,
) -> None:
    """Measure captures against what people do by hand, and write tables and pictures.

    Each part fills its own place in the page. Options that choose may be repeated; --subject,
    --link and --procedure concern the comparisons, and leave the other parts out.
    """
    end_politely()
    if not parts:
        parts = ("cases", "profile") if subjects or links or procedures else PARTS
        if procedures:
            parts = ("cases",)
    chosen = select(subjects, links)
    if not chosen:
        raise click.UsageError("There is no comparison of this subject over this link.")
    choice = Choice(parts, chosen, procedures, 1 if quick else runs, quick)
    if not (docs or quick or procedures):
        docs = ROOT / "docs"
    try:
        with _laboratory(choice) as laboratory:
            laboratory.measure(docs)
    except ForensicsError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _laboratory(choice: Choice) -> Iterator[Laboratory]:
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(TemporaryDirectory("", "bench-", os.environ.get("TMPDIR", DISK)))
        )
        engine = stack.enter_context(running_docker_engine())
        ways = {
            name: Bench(engine, stack.enter_context(open_link(link, folder)), folder)
            for name, link in LINKS.items()
        }
        yield Laboratory(choice, engine, ways, folder)


@dataclass(frozen=True, slots=True)
class Laboratory:
    """Everything that it takes to measure."""

    choice: Choice
    engine: DockerEngine
    ways: dict[str, Bench]
    """To S3, by the names of links."""
    folder: Path

    def measure(self, docs: Path | None) -> None:
        """Measure what was chosen; each result is published as soon as it is there."""
        _compile()
        machine = f"Measured on {describe_machine(self.engine)}."
        _publish(docs, PartResult("setting", machine))
        for finding in self._findings(docs):
            _publish(docs, finding)

    def _findings(self, docs: Path | None) -> Iterator[PartResult]:
        parts = self.choice.parts
        if "cases" in parts or "profile" in parts:
            yield from self._on_subjects(docs)
        yield from self._captures()
        yield from self._readers()

    def _captures(self) -> Iterator[PartResult]:
        parts, runs, sink = self.choice.parts, self.choice.runs, self.ways["http"].sink
        if "cold" in parts:
            contents = self.choice.size(cold.CONTENTS)
            done = cold.measure_cold(self.engine, sink, contents, self.folder, runs, _print_run)
            yield cold.finding(done)
        if "containerd" in parts:
            contents = self.choice.size(containerd.CONTENTS)
            yield containerd.finding(
                containerd.measure_containerd(sink, contents, self.folder, runs, _print_run)
            )
        if "memory" in parts:
            sizes = memory.QUICK_SIZES if self.choice.quick else memory.SIZES
            bench = self.ways["http"]
            yield memory.finding(
                memory.measure_memory(bench, self.engine, sizes, self.folder, _print_run)
            )

    def _readers(self) -> Iterator[PartResult]:
        parts = self.choice.parts
        if "cat" in parts:
            contents = self.choice.size(cat.CONTENTS)
            yield cat.finding(cat.measure_cat(self.engine, contents, self.folder))
        if "scan" in parts:
            contents, runs = self.choice.size(scan.CONTENTS), self.choice.runs
            yield scan.finding(scan.measure_scan(self.engine, contents, self.folder, runs))
        if "readers" in parts:
            contents, runs = self.choice.size(readers.CONTENTS), self.choice.runs
            yield readers.finding(readers.measure_readers(self.engine, contents, self.folder, runs))

    def _on_subjects(self, docs: Path | None) -> Iterator[PartResult]:
        """Measure all that concerns one subject while there is a container with it."""
        parts = self.choice.parts
        for subject, group in groupby(self.choice.cases, attrgetter("subject")):
            taken_apart = "profile" in parts and subject in PROFILED
            if not ("cases" in parts or taken_apart):
                continue
            contents, steps = self.choice.size(SUBJECTS[subject]), None
            with running_container(self.engine, contents, self.folder) as container:
                if taken_apart:
                    steps = self._profile(container, contents)
                    yield profile.finding(steps, f"profile-{subject}")
                if "cases" in parts:
                    yield from self._compared([*group], container, contents, docs, steps)

    def _compared(
        self,
        chosen: Sequence[Case],
        container: str,
        contents: Contents,
        docs: Path | None,
        steps: profile.Profile | None,
    ) -> Iterator[PartResult]:
        for case in chosen:
            print(f"\n{case.name}", file=sys.stderr)
            bench, names = self.ways[case.link], self.choice.procedures
            rounds = compare(case, bench, container, names, self.choice.runs, _print_run)
            comparison = CaseResult(case, contents.words, rounds)
            if docs:
                draw(comparison.rows, docs / "images" / picture(case.name))
            yield cases.finding(comparison, steps)

    def _profile(self, container: str, contents: Contents) -> profile.Profile:
        quick, ways = self.choice.quick, {name: self.ways[name] for name in ("http", "https")}
        size = profile.QUICK_UPLOAD if quick else profile.UPLOAD
        profiler = profile.Profiler(self.engine, ways, self.folder, self.choice.runs, size)
        return profiler.measure(container, contents)


def _publish(docs: Path | None, finding: PartResult) -> None:
    print(f"\n{finding.text}", flush=True)
    if docs:
        publish(docs / "performance.md", finding)


def _compile() -> None:
    """Compile our packages, as an installer would have done."""
    for package in ("forensics_core", "collector"):
        compileall.compile_dir(ROOT / package, quiet=2)


def _print_run(run: ProcedureRun) -> None:
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
