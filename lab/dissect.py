"""dissect.target, a reader of other people's: what it finds in a capture's tree of /proc.

install_dissect()
rows = target_query(Path("proc.tar"), "processes")
"""

from __future__ import annotations

import fcntl
import json
import subprocess
from pathlib import Path
from typing import Any

from lab.process import LabError

ROOT = Path(__file__).parents[1]
TARGET_QUERY = ROOT / ".lab/dissect/bin/target-query"


def install_dissect() -> None:
    """Install it if it is not there. Raises `LabError`."""
    (ROOT / ".lab").mkdir(exist_ok=True)
    with (ROOT / ".lab/dissect.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the tests run in several processes
        command = [str(ROOT / "lab/install.sh"), "dissect"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"dissect.target could not be installed: {done.stderr.strip()}")


def target_query(target: Path, function: str) -> list[dict[str, Any]]:
    """Return the records of a function, such as `processes`. Raises `LabError`."""
    rows = [json.loads(line) for line in _run(target, function, "--json").splitlines()]
    return [row for row in rows if row.get("_type") == "record"]


def target_text(target: Path, function: str) -> str:
    """Return what a function prints that has no records, such as `netstat`. Raises `LabError`."""
    return _run(target, function)


def _run(target: Path, function: str, *options: str) -> str:
    command = [str(TARGET_QUERY), "--no-cache", "-q", *options, "-f", function, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"target-query -f {function} failed: {done.stderr.strip()}")
    return done.stdout
