"""The intruder's tool: compiled from the C files beside this one, linked statically."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lab.process import LabError

_SOURCES = Path(__file__).parent


def build_tool(folder: Path) -> Path:
    """Compile the tool into a folder, and return its path. Raises `LabError`."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise LabError("There is no C compiler", hint="Install the packages gcc and libc6-dev")
    program = folder / "intruder"
    sources = sorted(map(str, _SOURCES.glob("*.c")))
    command = [compiler, "-static", "-O1", "-o", str(program)]
    done = subprocess.run([*command, *sources], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"The intruder's tool could not be compiled: {done.stderr.strip()[-500:]}")
    return program
