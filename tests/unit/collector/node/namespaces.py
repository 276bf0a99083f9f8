"""Network namespaces for tests, and work done in them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from collector.node.netlink import enter
from collector.node.procfs import Process
from tests.unprivileged import in_thread

T = TypeVar("T")
MADE = "ip link set lo up; echo made; exec sleep 1000"


@contextmanager
def new_network(script: str = "") -> Iterator[int]:
    """A process in a network namespace of its own, in which a script was run."""
    command = ["unshare", "--net", "sh", "-ec", f"{script}\n{MADE}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"made\n", script
            yield process.pid
        finally:
            process.kill()


def within(pid: int, action: Callable[[], T]) -> T:
    """Return what `action` returns in the process's network namespace."""

    def join() -> None:
        with Process.open(pid) as process:
            enter(process)

    return in_thread(join, action)


def space_of(pid: int) -> bytes:
    """Return the namespace's name."""
    return bytes(Path(f"/proc/{pid}/ns/net").readlink())


MAKES_RULES = os.geteuid() == 0 and all(shutil.which(each) for each in ("iptables-legacy", "nft"))
"""Whether firewall rules can be made here."""
