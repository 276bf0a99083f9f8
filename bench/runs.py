"""Measured runs of procedures on a container: in pairs, with what reached S3."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import ScriptCost, measure
from bench.procedures import Procedure
from bench.processes import cpu_seconds, daemon_behind
from bench.sink import RemoteSink
from lab.containerd import Containerd
from lab.docker import DockerEngine
from lab.process import LabError

TOOLS = ("bash", "docker", "aws", "forensics", "s5cmd", "tar", "zstd")


@dataclass(frozen=True, slots=True)
class ProcedureRun:
    """One run of one procedure."""

    procedure: Procedure
    cost: ScriptCost
    stored: int
    """Bytes of the objects that it left in S3."""
    engine_cpu: float | None
    """Seconds of CPU that the engine used meanwhile; None if its process cannot be found."""


RunListener = Callable[[ProcedureRun], None]


class Bench:
    """A place to run procedures in: an engine, an S3 endpoint, and a folder for scratch files."""

    def __init__(
        self,
        engine: DockerEngine | Containerd,
        sink: RemoteSink,
        folder: Path,
        prepare: Callable[[], None] = os.sync,
    ) -> None:
        """`prepare` comes before every run: nobody is to wait for what others wrote."""
        self.sink = sink
        self._folder = folder
        self._runs = 0
        self._prefix = secrets.token_hex(4)  # Several use one endpoint.
        self._prepare = prepare
        if isinstance(engine, DockerEngine):
            self._daemon = daemon_behind(engine.host, "dockerd")
        else:
            self._daemon = daemon_behind(f"unix://{engine.socket}", "containerd")
        self._env = environment(engine, sink.env)

    def run(self, procedure: Procedure, container: str) -> ProcedureRun:
        """Run a procedure once. Raises `LabError` if it fails or leaves the wrong things in S3."""
        self._runs += 1
        self._prepare()
        to = f"s3://bench/{self._prefix}/{self._runs}"
        with TemporaryDirectory(dir=self._folder) as scratch:
            before, busy = self.sink.counts(), self._engine_cpu()
            cost = measure(
                procedure.script,
                folder=Path(scratch),
                env={**self._env, "CONTAINER": container, "TO": to, "TMPDIR": scratch},
            )
            used, after = self._engine_cpu(), self.sink.counts()
        if after.uploads or (after.objects > before.objects) != procedure.stores:
            raise LabError(f"'{procedure.name}' did not leave in S3 what it should: {after}")
        spent = None if used is None or busy is None else used - busy
        return ProcedureRun(procedure, cost, after.stored - before.stored, spent)

    def rounds(
        self, procedures: Sequence[Procedure], container: str, runs: int, report: RunListener
    ) -> list[list[ProcedureRun]]:
        """Run each procedure once a round; return rounds of runs in the order of `procedures`.

        Runs of a round are compared with each other, because what else the machine does changes
        slowly; each round begins with another procedure, because the first may have it worse.
        """
        rounds = []
        for number in range(runs):
            start = number % len(procedures)
            done = {}
            for procedure in [*procedures[start:], *procedures[:start]]:
                done[procedure.name] = self.run(procedure, container)
                report(done[procedure.name])
            rounds.append([done[procedure.name] for procedure in procedures])
        return rounds

    def _engine_cpu(self) -> float | None:
        return None if self._daemon is None else cpu_seconds(self._daemon)


def search_path() -> str:
    """Return the PATH that scripts get: the commands beside this Python come first."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def environment(engine: DockerEngine | Containerd, storage: Mapping[str, str]) -> dict[str, str]:
    """Return the scripts' variables, without the user's own cloud accounts.

    `storage` has those that lead to S3. Raises `LabError` if a tool is missing.
    """
    # Whoever traces the benchmark's coverage wants not the scripts'.
    foreign = ("AWS_", "COVERAGE_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = search_path()
    missing = [tool for tool in TOOLS if not shutil.which(tool, path=path)]
    if missing:
        raise LabError(f"Not installed: {', '.join(missing)}", hint="Run lab/install.sh")
    # A module's bytecode would be written once per installation, not once per capture.
    once = {"PYTHONDONTWRITEBYTECODE": "1"}
    return {**own, **once, **engine.env, **storage, "PATH": path}
