"""The machine and the software that a capture is made with, for the manifest."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

from anyio import to_thread

from forensics_core.bundle.manifest import Node, Tool
from forensics_core.version import __version__

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


async def describe_node(runtime: str) -> Node:
    """Return what this machine is called; `runtime` is its container runtime with version.

    In a Job the host's name is the pod's: there `FORENSICS_NODE_NAME` says which node it is.
    """
    boot_id = await to_thread.run_sync(_boot_id)
    system = platform.uname()
    return Node(
        hostname=os.environ.get("FORENSICS_NODE_NAME") or system.node,
        kernel=system.release,
        machine=system.machine,
        boot_id=boot_id,
        runtime=runtime,
    )


def describe_tool() -> Tool:
    """Return this software and its version."""
    return Tool(version=__version__, python=platform.python_version())


def _boot_id() -> str:
    with suppress(OSError):
        return BOOT_ID.read_text().strip()
    return ""
