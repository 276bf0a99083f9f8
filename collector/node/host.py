"""The machine as a container runtime sees it, reached through /proc.

In a Job only the node's /proc is there; the files of the runtime lie beneath `/proc/PID/root` of
its process. By hand they are simply this machine's::

    host = Host.of(pid)
    place = host.open(b"/run/containerd/containerd.sock")

What the manifest says of it, and of the software that made the capture, is here too.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from anyio import to_thread

from collector.files.safe_open import open_data, open_in_root, opened
from collector.node.procfs import host_proc
from forensics_core.bundle.manifest import Node, Tool
from forensics_core.version import __version__

MAX_FILE = 1024 * 1024
"""Bytes of a configuration file that are read."""


@dataclass(frozen=True, slots=True)
class Host:
    """A file system, by a process that has it as its root."""

    base: Path = Path("/proc/self")
    """The process's folder in /proc."""

    @classmethod
    def of(cls, pid: int) -> Host:
        """Return the machine as the process `pid` sees it."""
        return cls(host_proc() / str(pid))

    def open(self, path: bytes | str, flags: int = os.O_PATH | os.O_CLOEXEC) -> int:
        """Open `path` there; no link leads out. Raises `OSError`."""
        with opened(os.open(self.base / "root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            return open_in_root(root, path, flags)

    def read(self, path: bytes | str) -> bytes:
        """Return the content of a small file there. Raises `OSError`."""
        with os.fdopen(self.open_data(path), "rb") as file:
            return file.read(MAX_FILE)

    def open_data(self, path: bytes | str) -> int:
        """Open a regular file there for reading, its access time left alone. Raises `OSError`."""
        with opened(self.open(path)) as place:
            return open_data(place)

    def matching(self, pattern: str) -> list[str]:
        """Return the paths there whose last part matches, sorted. Raises `OSError`."""
        folder, _, last = pattern.rpartition("/")
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with opened(self.open(folder or "/", flags)) as place, os.scandir(place) as entries:
            names = sorted(entry.name for entry in entries if fnmatchcase(entry.name, last))
        return [f"{folder}/{name}" for name in names]

    def mountinfo(self) -> bytes:
        """Return its mount table."""
        return (self.base / "mountinfo").read_bytes()

    @property
    def foreign(self) -> bool:
        """Whether its mounts are other ones than ours."""
        return not os.path.samestat((self.base / "ns/mnt").stat(), Path("/proc/self/ns/mnt").stat())


BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


async def describe_node(runtime: str, boot_id: Path = BOOT_ID) -> Node:
    """Return what this machine is called; `runtime` is its container runtime with version.

    In a Job the host's name is the pod's: there `FORENSICS_NODE_NAME` says which node it is.
    `boot_id` is the file that says since which start of the machine it runs.
    """
    boot = await to_thread.run_sync(_read, boot_id)
    system = platform.uname()
    return Node(
        hostname=os.environ.get("FORENSICS_NODE_NAME") or system.node,
        kernel=system.release,
        machine=system.machine,
        boot_id=boot,
        runtime=runtime,
    )


def describe_tool() -> Tool:
    """Return this software and its version."""
    return Tool(version=__version__, python=platform.python_version())


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
