"""Where the time of a capture goes: each step by itself, beside a whole capture of the tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import anyio

from bench.cold import forget
from bench.measure import measure
from bench.page import Bound, PartResult, measured, number, table
from bench.procedures import OURS
from bench.runs import Bench, environment
from bench.sink import ROOT
from bench.steps import StepCost, tar_command
from bench.subjects import Contents, running_container
from lab.docker import DockerEngine
from lab.images import GiB, MiB

UPLOAD = 2 * GiB
"""Bytes that the upload is measured with."""
QUICK_UPLOAD = 32 * MiB
START = 'exec "$PYTHON" -c "import asyncio"'
"""As little of Python as a program with an event loop can do with."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What each step took, in medians, and whole captures."""

    words: str
    """What the container held."""
    runs: int
    steps: Mapping[str, StepCost]
    """By name, as in `_limits`."""
    whole: StepCost
    nothing: StepCost
    """A capture of almost nothing."""
    start: StepCost
    """Python's own start."""

    def least_cpu(self, *, compressed: bool) -> float:
        """Return the CPU seconds that a capture's work has whoever does it.

        Every byte is read, hashed twice, of the archive and of its file, and sent; compressed ones
        are compressed, and hashed once more.
        """
        reading = self.steps["tree"].cpu + 2 * self.steps["sha256"].cpu
        if not compressed:
            return reading + _per_gib(self.steps["http"]) * self.steps["tree"].bytes / GiB
        return reading + sum(_share(self, name) for name in ("zstd", "sha256_stored", "http"))

    def least_wall(self, *, compressed: bool) -> float:
        """Return the seconds that this takes on this machine, one step alone at the least."""
        alone = (self.steps["tree"].wall, self.steps["sha256"].wall)
        return max(self.least_cpu(compressed=compressed) / (os.cpu_count() or 1), *alone)


@dataclass(frozen=True, slots=True)
class Profiler:
    """What it takes to measure."""

    engine: DockerEngine
    ways: Mapping[str, Bench]
    """To S3, by their names: `http` and `https`."""
    folder: Path
    """On a disk, with room for the archive."""
    runs: int
    upload: int = UPLOAD
    _costs: dict[str, list[StepCost]] = field(default_factory=dict)

    def measure(self, container: str, contents: Contents) -> Profile:
        """Measure every step on what a container holds."""
        root = f"/proc/{anyio.run(self.engine.pid, container)}/root"
        archive = self.folder / "archive.tar"
        _archive(root, archive)
        try:
            for _ in range(self.runs):
                self._round(root, str(archive))
        finally:
            archive.unlink()
        forget(Path(root))
        self._step("cold", "read_tree", root)
        return Profile(
            contents.words,
            self.runs,
            {name: _median(costs) for name, costs in self._costs.items()},
            self._capture(container),
            self._capture_nothing(),
            self._start(),
        )

    def _round(self, root: str, archive: str) -> None:
        self._step("tree", "read_tree", root)
        for name in ("zstd", "sha256", "index", "sha256_stored"):
            self._step(name, name, archive)
        for name in self.ways:
            self._step(name, "upload", str(self.upload), name)
        self._step("socket", "send", str(self.upload))

    def _step(self, name: str, step: str, subject: str, way: str = "http") -> None:
        """Run a step as a process of its own, where others' caches and threads do not count."""
        said = subprocess.run(
            [sys.executable, "-m", "bench.steps", step, subject],
            cwd=ROOT,
            env=environment(self.engine, self.ways[way].sink.env),
            check=True,
            stdout=subprocess.PIPE,
        )
        self._costs.setdefault(name, []).append(StepCost(**json.loads(said.stdout)))

    def _capture_nothing(self) -> StepCost:
        with running_container(self.engine, Contents(), self.folder) as container:
            return self._capture(container)

    def _start(self) -> StepCost:
        env = {**environment(self.engine, {}), "PYTHON": sys.executable}
        with TemporaryDirectory(dir=self.folder) as scratch:
            costs = [measure(START, folder=Path(scratch), env=env) for _ in range(self.runs)]
        return _median([StepCost(0, cost.wall, cost.cpu) for cost in costs])

    def _capture(self, container: str) -> StepCost:
        bench = self.ways["http"]
        costs = [bench.run(OURS, container) for _ in range(self.runs)]
        return _median([StepCost(0, run.cost.wall, run.cost.cpu, run.stored) for run in costs])


def _archive(root: str, path: Path) -> None:
    """Write what the collector's own `tar` makes of a tree; it complains where nothing is wrong."""
    with path.open("wb") as file:
        subprocess.run(tar_command(root), stdout=file, stderr=subprocess.DEVNULL, check=False)
    os.sync()


def _median(costs: Sequence[StepCost]) -> StepCost:
    return StepCost(
        costs[0].bytes,
        median(cost.wall for cost in costs),
        median(cost.cpu for cost in costs),
        costs[0].out,
    )


def finding(profile: Profile, name: str = "profile-mixed") -> PartResult:
    """Return the table of the steps, and what they come to, for the markers of a name."""
    about = (
        f"{measured(profile.runs)}: a container with {profile.words}, of which "
        f"{profile.steps['tree'].bytes / MiB:,.0f} MiB of archive are made, and "
        f"{profile.whole.out / MiB:,.0f} MiB stored."
    )
    steps = table(_COLUMNS, _rows(profile))
    goals = {"upload": _per_gib(profile.steps["http"]), "nothing": profile.nothing.cpu}
    limits = {
        "upload": Bound(_per_gib(profile.steps["socket"]), "handing blocks to a socket"),
        "nothing": Bound(profile.start.cpu, "Python's start, with `asyncio`"),
    }
    return PartResult(name, f"{about}\n\n{steps}\n\n{_sum(profile)}", goals, limits)


_COLUMNS = ("step", "CPU s", "CPU s a GiB", "MB/s", "what limits it")


def _rows(profile: Profile) -> Iterator[list[str]]:
    limits = _limits(profile)
    for name, (title, limit) in limits.items():
        if cost := profile.steps.get(name):
            cpu = _share(profile, name)
            rate = f"{cost.bytes / 1e6 / cost.wall:,.0f}"
            yield [title, number(cpu), number(_per_gib(cost)), rate, limit]
    start = "starting Python, the engine's and the endpoint's answers"
    yield ["a capture of almost nothing", number(profile.nothing.cpu), "", "", start]
    yield ["Python's start, with `asyncio`", number(profile.start.cpu), "", "", "the interpreter"]


def _share(profile: Profile, name: str) -> float:
    """Return the CPU seconds of a step that a capture of this tree has, in seconds."""
    cost = profile.steps[name]
    sent = name in {"http", "https", "socket"}
    return _per_gib(cost) * profile.whole.out / GiB if sent else cost.cpu


def _limits(profile: Profile) -> dict[str, tuple[str, str]]:
    """Return titles and limits of the steps by their names, in the order of the table."""
    steps = profile.steps
    rows = max(steps["index"].out, 1)
    reading = 1e6 * steps["tree"].cpu / rows
    more = 1e6 * max(0.0, steps["index"].cpu - steps["sha256"].cpu) / rows
    return {
        "tree": (
            "GNU tar reads the tree, cached",
            f"system calls, and copying out: {reading:.0f} us a member",
        ),
        "cold": ("the same, nothing cached", "the disk; CPU time is the file system's too"),
        "zstd": ("zstd, level 1", "one core; each block is a frame of its own"),
        "sha256": ("SHA-256 of the archive", f"one core, {_instructions()}"),
        "index": (
            "the index, with the SHA-256 of each file",
            f"one core: every byte once more, and {more:.0f} us a member",
        ),
        "sha256_stored": ("SHA-256 of what is stored", "as above"),
        "http": ("upload over HTTP, one object of noise", "copying into the socket"),
        "https": ("upload over HTTPS, the same", "encryption, and copying into the socket"),
        "socket": ("the same bytes into a socket, nothing else", "copying into the socket"),
    }


def _instructions() -> str:
    """Return what this processor has for SHA-256."""
    flags = Path("/proc/cpuinfo").read_text().split()
    has = "sha_ni" in flags or "sha2" in flags
    return f"{'with' if has else 'without'} the processor's SHA instructions"


def _per_gib(cost: StepCost) -> float:
    return cost.cpu / (cost.bytes / GiB)


PARTS = ("tree", "zstd", "sha256", "index", "sha256_stored", "http")
"""The steps that add up to a capture over HTTP."""
ALONE = tuple(name for name in PARTS if name != "zstd")
"""Those that take one block after the other."""


def _sum(profile: Profile) -> str:
    parts = sum(_share(profile, name) for name in PARTS) + profile.nothing.cpu
    cores = os.cpu_count() or 1
    whole = profile.whole
    return (
        f"For a capture over HTTP that is {parts:.1f} s of CPU time, which {cores} cores cannot do "
        f"in less than {parts / cores:.1f} s; the longest step that one core does alone takes "
        f"{max(_share(profile, name) for name in ALONE):.1f} s. Whole captures took "
        f"{whole.cpu:.1f} s of CPU time in {whole.wall:.1f} s."
    )
