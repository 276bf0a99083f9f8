"""What the node says of a pod: its kernel, its network's tables, its runtime's events."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from anyio import to_thread

from collector.docker.runtime import DockerRuntime
from collector.local import CaptureOptions
from forensics_core.api.order import ArtifactKind
from lab.docker import Engine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.test_capture import collect
from tests.unit.collector.node.bpf_objects import bpf_is_permitted, new_map, program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other namespaces")

FILES = {
    *("node/kernel.json", "node/ebpf.json", "node/runtime.json"),
    *("node/network.json", "node/firewall.json", "node/conntrack.json"),
}
VOLATILE = CaptureOptions((ArtifactKind.PROCESSES, ArtifactKind.NETWORK))
RULES = """
table inet quiet {
  set enemies { type ipv4_addr; elements = { 203.0.113.7 } }
  chain out { type filter hook output priority 0; policy accept; ip daddr @enemies tcp dport 4444 drop; }
}
"""


def inside(pid: int, *command: str) -> None:
    """Run a program of this machine in a process's network namespace."""
    subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *command], check=True)


def listening_in(pid: int, *families: int) -> list[socket.socket]:
    """Make packet sockets in a process's network namespace, which are held by this process."""
    made: list[socket.socket] = []

    def make() -> None:
        with open(f"/proc/{pid}/ns/net") as space:  # noqa: PTH123 - a descriptor is needed
            os.setns(space.fileno(), os.CLONE_NEWNET) if hasattr(os, "setns") else _setns(space)
        made.extend(socket.socket(family, socket.SOCK_RAW) for family in families)

    import threading

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made


def _setns(space: Any) -> None:
    import ctypes

    assert not ctypes.CDLL(None).setns(space.fileno(), 0x40000000)


@pytest.fixture
async def pid(docker: Engine, image: str, runtime: DockerRuntime) -> AsyncIterator[int]:
    async with docker.container(image, name=f"web-{uuid4().hex[:6]}") as container:
        yield await docker.pid(container)


async def test_try(docker: Engine, image: str, runtime: DockerRuntime, bundle: Bundle) -> None:
    async with docker.container(image, name=f"web-{uuid4().hex[:6]}") as container:
        pid = await docker.pid(container)
        await to_thread.run_sync(inside, pid, "iptables", "-A", "OUTPUT", "-d", "203.0.113.7", "-j", "DROP")
        await to_thread.run_sync(inside, pid, "iptables-legacy", "-A", "OUTPUT", "-d", "203.0.113.8", "-j", "DROP")
        result = await collect(bundle, container, options=VOLATILE)
    for f in sorted(FILES):
        print(f, (bundle.folder / f).read_text()[:1500])
    for g in bundle.capture.not_captured:
        print(g)
    for a in bundle.capture.artifacts:
        print(a.name, a.seconds, a.started_at, a.size)
