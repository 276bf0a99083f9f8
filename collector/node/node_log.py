"""Lines of the node's own logs about a pod: of its kubelet, its runtime, its system.

Of systemd's journals (`journal`), and of the files that a syslog daemon or a distribution of
Kubernetes writes. A line is about the pod if it has one of its words: an id, a uid, its name. What
is newest is looked at, to a limit::

    found = find_lines(host, ["4f2a91...", "shop/web-0"])
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO

from collector.documents import portable
from collector.files.safe_open import opened
from collector.node import journal
from collector.node.host import Host
from collector.node.netlink_fields import NetlinkRow

TEXT_FILES = (
    *("/var/log/syslog", "/var/log/messages", "/var/log/daemon.log", "/var/log/kubelet.log"),
    *("/var/log/containerd.log", "/var/log/docker.log", "/var/log/k3s.log"),
    "/var/lib/rancher/k3s/agent/containerd/containerd.log",
    "/var/lib/rancher/rke2/agent/containerd/containerd.log",
    "/var/lib/rancher/rke2/agent/logs/kubelet.log",
    "/var/snap/microk8s/common/var/log/containerd.log",
)
JOURNALS = ("/var/log/journal", "/run/log/journal")
"""Where machines keep their journals, each in a folder of its own name."""
KERNEL_FILES = ("/var/log/kern.log", "/var/log/messages", "/var/log/syslog")
"""Where daemons of syslog put the kernel's lines."""
KERNEL = b"kernel"
"""By what way they came into a journal."""
MAX_TAIL = 4 * 1024 * 1024
"""Bytes at the end of one file of text that are looked through."""
MAX_TEXT = 1024 * 1024
"""Bytes of the lines of one file that are kept, the newest."""
MAX_JOURNALS = 8
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class NodeLog:
    """What was found, and where it was looked for."""

    files: list[NetlinkRow] = field(default_factory=list)
    """Each file that was read, with its lines, and from when on it was read."""
    unreadable: dict[str, str] = field(default_factory=dict)


def find_lines(host: Host, words: Sequence[str]) -> NodeLog:
    """Look through what of the node's logs can be reached. It blocks."""
    found, wanted = NodeLog(), [word.encode() for word in words if word]
    for path in TEXT_FILES:
        _look(found, host, path, wanted)
    for path in _journals(host):
        _look(found, host, path, wanted)
    return found


def find_kernel_lines(host: Host) -> NodeLog:
    """Look for the kernel's own lines, which daemons of logs have copied. It blocks."""
    found = NodeLog()
    for path in _journals(host):
        _look(found, host, path, (), KERNEL)
    for path in KERNEL_FILES:
        _look(found, host, path, [b"kernel: "])
    found.files = [row for row in found.files if row["lines"]]
    return found


def _journals(host: Host) -> list[str]:
    """Return the files that are being written, of the system and of users: not archived ones."""
    files: list[str] = []
    for folder in JOURNALS:
        with suppress(OSError):
            for machine in host.matching(f"{folder}/*"):
                with suppress(OSError):
                    files += host.matching(f"{machine}/system.journal")
    return files[:MAX_JOURNALS]


def _look(
    found: NodeLog, host: Host, path: str, words: Sequence[bytes], transport: bytes = b""
) -> None:
    try:
        with opened(host.open(path, _READ)) as file:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                return
            is_journal = path.endswith(".journal")
            row = (
                journal.find_entries(file, words, transport=transport)
                if is_journal
                else _tail(file, words)
            )
            found.files.append({"path": path, **row})
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, journal.DamagedJournal) as error:
        found.unreadable[path] = str(error)


def _tail(file: int, words: Sequence[bytes]) -> NetlinkRow:
    told = os.fstat(file)
    start = max(told.st_size - MAX_TAIL, 0)
    with os.fdopen(os.dup(file), "rb") as stream:
        stream.seek(start)
        text = BytesIO(stream.read(MAX_TAIL))
    kept, size, matches = deque[bytes](), 0, 0
    # One by one: a list of lines without anything in them takes many times as much as they do.
    for line in text:
        if any(word in line for word in words):
            kept.append(line)
            matches, size = matches + 1, size + len(line)
        while size > MAX_TEXT:
            size -= len(kept.popleft())
    return {
        "size": told.st_size,
        "from": start,
        "modified": datetime.fromtimestamp(told.st_mtime, UTC).isoformat(),
        "matches": matches,
        "lines": [portable(line.rstrip(b"\n")) for line in kept],
    }
