"""The tools that are compared, each as a process of its own with the options that give it most."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.recall.judge import GapRemark
from bench.sink import ROOT
from lab.intruder.container import DOCKER, IntrudedContainer
from lab.process import LabError, stop

TIMEOUT = 600
"""Seconds that a tool has."""
PARTIAL = 4
"""The exit code of ours for a capture that lacks something of what was asked for."""
ATTEMPTS = 5
"""How often a tool is run that fails by chance."""
OURS, OURS_ALL = "forensics", "forensics-all"
_COMPLAINT = re.compile(r"fail|error|missing|skip|could not|cannot|warn|too large|denied", re.I)
_SEALED = {"manifest.json", "SHA256SUMS", "order.json"}
"""What of a bundle is no evidence, but speaks about it."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool did."""

    folder: Path
    """Where it left what it brought home."""
    said: str
    """On its standard output and error."""
    failed: str = ""
    """Why it is not all that it could be, in its own words where it has any."""
    seconds: float = 0
    """That it took, without what led to it."""

    @property
    def size(self) -> int:
        """Bytes that it left."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


@dataclass(frozen=True, slots=True)
class Contestant:
    """One tool, or one way to use it."""

    name: str
    title: str
    """For tables, in Markdown."""
    run: Callable[[IntrudedContainer, Path], ToolResult]
    runtimes: Sequence[str] = ()
    """Where it works; empty: everywhere."""

    def remarks(self, result: ToolResult) -> Iterator[GapRemark]:
        """Yield what it says that it does not have: gaps of ours, complaints of others."""
        manifests = [*result.folder.rglob("manifest.json")] if self.ours else []
        for manifest in manifests:
            for gap in json.loads(manifest.read_bytes())["predicate"]["notCaptured"]:
                yield GapRemark(_gap(gap))
        if not self.ours:
            logs = [
                result.said,
                *(log.read_text("utf-8", "replace") for log in result.folder.rglob("*.log")),
            ]
            for line in "\n".join(logs).splitlines():
                if _COMPLAINT.search(line):
                    yield GapRemark(line)

    def is_evidence(self, path: str) -> bool:
        """Whether a file that it left is to be searched."""
        return not (self.ours and Path(path).name in _SEALED)

    @property
    def ours(self) -> bool:
        """Whether it is this tool."""
        return self.name in {OURS, OURS_ALL}


def _gap(gap: dict[str, Any]) -> str:
    place, process = gap.get("path") or "", gap.get("pid") or ""
    return f"{gap['what']} {place} {gap['reason']} {gap['message']} process {process} "


def _execute(command: Sequence[str | Path], container: IntrudedContainer, folder: Path) -> str:
    """Run a command, and return what it said. Raises `LabError` if it fails."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**own, **container.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise LabError(str(error)) from error
    try:
        said = process.communicate(timeout=TIMEOUT)[0].decode(errors="replace")
    except subprocess.TimeoutExpired as error:
        raise LabError(f"It did not end within {TIMEOUT} s") from error
    finally:
        stop(process)
    if process.returncode not in {0, PARTIAL}:
        last = said.strip().splitlines()[-1:] or ["without a word"]
        raise LabError(f"It ended with {process.returncode}: {last[0]}")
    return said


def _whole(
    container: IntrudedContainer, folder: Path, steps: Sequence[Sequence[str | Path]]
) -> ToolResult:
    """Run one command after the other, until one fails."""
    said, failed, started = list[str](), "", time.perf_counter()
    try:
        said += (_execute(step, container, folder) for step in steps)
    except LabError as error:
        failed = str(error)
    return ToolResult(folder, "\n".join(said), failed, time.perf_counter() - started)


def _forensics() -> str:
    return str(Path(sys.executable).with_name("forensics"))


def capture(container: IntrudedContainer, folder: Path, *options: str) -> ToolResult:
    """Capture with this tool."""
    command = [_forensics(), "collect", container.address, "--to", str(folder), *options]
    return _whole(container, folder, [command])


def everything() -> list[str]:
    """Return the options that ask for every kind of artifact that this version has."""
    asked = [_forensics(), "collect", "--help"]
    usage = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    found = re.search(r"--artifact\s+\[([^\]]+)\]", usage)
    kinds = re.sub(r"\s", "", found[1]).split("|") if found else []
    return [part for kind in kinds for part in ("--artifact", kind)]


def _capture_all(container: IntrudedContainer, folder: Path) -> ToolResult:
    return capture(container, folder, *everything())


def _seeds(container: IntrudedContainer, folder: Path) -> ToolResult:
    """Inspect, diff and export, as the project that this one follows did it."""
    steps = [
        ["sh", "-c", 'docker inspect "$0" > inspect.json', container.id],
        ["sh", "-c", 'docker diff "$0" > diff.txt', container.id],
        ["docker", "export", "--output", "export.tar", container.id],
    ]
    return _whole(container, folder, steps)


def _export(container: IntrudedContainer, folder: Path) -> ToolResult:
    return _whole(container, folder, [["docker", "export", "--output", "export.tar", container.id]])


def _with(
    tool: PypiTool,
    container: IntrudedContainer,
    folder: Path,
    commands: Callable[[Path], list[list[str]]],
) -> ToolResult:
    try:
        place = installed(tool)
    except LabError as error:
        return ToolResult(folder, "", str(error))
    return _whole(container, folder, commands(place))


def _inside(container: IntrudedContainer) -> list[str]:
    """Return what a command sees the container's processes and network by, and the node's files."""
    enter = ["nsenter", "--target", str(container.pid), "--pid", "--net", "--ipc"]
    return [*enter, "unshare", "--mount", "--mount-proc"]


def _varc(container: IntrudedContainer, folder: Path) -> ToolResult:
    """Run varc; it ends with an error if a process ends meanwhile, and is run again then."""
    for _ in range(ATTEMPTS - 1):
        result = _varc_once(container, folder)
        if not result.failed:
            return result
    return _varc_once(container, folder)


def _varc_once(container: IntrudedContainer, folder: Path) -> ToolResult:
    def commands(place: Path) -> list[list[str]]:
        return [[*_inside(container), str(place / "python"), "-m", "varc"]]

    return _with(VARC, container, folder, commands)


_NO_MODULES = ("--profile", "none", "--volatile-profile", "none")
_ALL_PROCESSES = (*_NO_MODULES, "--full-proc", "--proc", "--proc-net")


def _acquire(container: IntrudedContainer, folder: Path) -> ToolResult:
    """Take every file of the container, then all that /proc shows of its processes."""

    def commands(place: Path) -> list[list[str]]:
        command = [str(place / "acquire"), "--output", str(folder)]
        files = ["--profile", "full", "--glob", "/**", str(merged(container.pid))]
        return [[*command, *files], [*_inside(container), *command, *_ALL_PROCESSES, "local"]]

    return _with(ACQUIRE, container, folder, commands)


def merged(pid: int) -> Path:
    """Return where the node has a container's root file system mounted. Raises `LabError`."""
    inner = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    upper = next(
        (found[0] for line in inner if (found := re.search(r"upperdir=[^, ]+", line))), None
    )
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if upper and upper in line:
            return Path(line.split()[4])
    raise LabError(f"The node has the files of process {pid} mounted nowhere")


CONTESTANTS = (
    Contestant(OURS, "`forensics collect`", capture),
    Contestant(OURS_ALL, "`forensics collect`, everything", _capture_all),
    Contestant("seed", "`docker inspect`, `diff`, `export`", _seeds, (DOCKER,)),
    Contestant("export", "`docker export`", _export, (DOCKER,)),
    Contestant("varc", "varc", _varc),
    Contestant("acquire", "acquire", _acquire),
)
"""All of them, in the order of the tables."""


FOLDER = ROOT / ".lab" / "recall"
"""Where they stay for the next time; `make clean` removes it."""


@dataclass(frozen=True, slots=True)
class PypiTool:
    """A tool from PyPI."""

    name: str
    packages: tuple[str, ...]
    """With their versions; the tool's own is the first."""


VARC = PypiTool("varc", ("varc==1.0.9", "lz4==4.4.5"))
"""It needs lz4, and does not say so."""
ACQUIRE = PypiTool("acquire", ("acquire==3.22",))


def installed(tool: PypiTool, folder: Path = FOLDER) -> Path:
    """Install a tool unless it is there; return where its programs are. Raises `LabError`."""
    place = folder / tool.name
    mark = place / ".installed"
    if mark.is_file() and mark.read_text() == " ".join(tool.packages):
        return place / "bin"
    _run(sys.executable, "-m", "venv", "--clear", str(place))
    _run(str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *tool.packages)
    mark.write_text(" ".join(tool.packages))
    return place / "bin"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"It could not be installed: {done.stderr.strip().splitlines()[-1]}")
