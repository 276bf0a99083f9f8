"""One shell script, run and measured with everything that it starts."""

from __future__ import annotations

import os
import resource
import select
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bench.processes import PeakMemory
from lab.process import LabError, stop

INTERVAL_MS = 20
"""Between two looks at the memory."""
BLOCK = 512
"""Bytes in a block of `ru_oublock` and `ru_inblock`, in which getrusage(2) counts what dirtied the
page cache, and what was not in it."""
METADATA = 64 * 1024
"""Bytes below which what the kernel counts is the file system's own, such as access times."""


@dataclass(frozen=True, slots=True)
class ScriptCost:
    """What a script and all its processes took."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system, without those of daemons that did work on request."""
    peak: int
    """Bytes: the memory of its largest process."""
    peak_together: int
    """Bytes: the memory of all its processes that lived at the same time; see `PeakMemory`."""
    written: int
    """Bytes written to files, deleted ones included."""
    read: int = 0
    """Bytes that had to come from the disk."""


def measure(script: str, *, folder: Path, env: Mapping[str, str]) -> ScriptCost:
    """Run `script` with bash in `folder`, which is to be empty. Raises `LabError` if it fails.

    Its output goes to memory: a file would count as written, and nobody empties a pipe.
    """
    with os.fdopen(os.memfd_create("output"), "w+b") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            ["bash", "-c", f"set -eo pipefail\n{script}"],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        tree = PeakMemory(process.pid)
        try:
            used = _watch(process, tree)
        except BaseException:
            stop(process, grace=10)
            raise
        wall = time.perf_counter() - started
        _require_success(process, output)
    cpu = used.ru_utime + used.ru_stime
    written, read = _written(used, folder), used.ru_inblock * BLOCK
    return ScriptCost(wall, cpu, tree.largest, tree.together, written, read)


def _watch(process: subprocess.Popen[bytes], tree: PeakMemory) -> resource.struct_rusage:
    """Look at the memory until the process ends; return what it and its children used."""
    handle = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        tree.sample()
        while not poll.poll(INTERVAL_MS):
            tree.sample()
    finally:
        os.close(handle)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used


def _require_success(process: subprocess.Popen[bytes], output: BinaryIO) -> None:
    if process.returncode == 0:
        return
    output.seek(0)
    said = output.read().decode(errors="replace").strip().splitlines()[-5:]
    raise LabError(f"A measured script ended with {process.returncode}: {' / '.join(said)}")


def _written(used: resource.struct_rusage, folder: Path) -> int:
    """Return the bytes that the kernel counted, or those of the files left if they are more.

    Not every file system counts; tmpfs does not.
    """
    counted = used.ru_oublock * BLOCK
    left = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return max(counted if counted > METADATA else 0, left)
