"""What was measured on, in words that identify no host."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import anyio

from bench.runs import search_path
from lab.docker import DockerEngine


def describe_machine(engine: DockerEngine) -> str:
    """Return processor, memory, kernel, engine and the versions of what is compared."""
    cpus = os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{_processor()}, {cpus} {'core' if cpus == 1 else 'cores'}, {memory:.0f} GiB of memory, "
        f"Linux {_numbers(platform.release())}; {anyio.run(_engine, engine)}; "
        f"Python {platform.python_version()}, AWS CLI {_version('aws')}, "
        f"Docker CLI {_version('docker')}, GNU tar {_version('tar')}"
    )


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.machine()


async def _engine(engine: DockerEngine) -> str:
    async with engine.client() as client:
        said = await client.system.info()
    below = dict(said.get("DriverStatus") or ()).get("Backing Filesystem", "an unnamed file system")
    return f"Docker Engine {said['ServerVersion']} with {said['Driver']} on {below}"


def _version(tool: str) -> str:
    found = shutil.which(tool, path=search_path()) or tool
    said = subprocess.run([found, "--version"], check=True, capture_output=True, text=True)
    return _numbers(said.stdout)


def _numbers(text: str) -> str:
    """Return the first version number in a text."""
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else "of unknown version"
