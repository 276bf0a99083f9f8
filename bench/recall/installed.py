"""Other people's tools, each in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.sink import ROOT
from lab.process import LabError

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
