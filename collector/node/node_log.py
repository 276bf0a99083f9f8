"""Lines of the node's own logs about a pod: of its kubelet, its runtime, its system.

Of systemd's journals (`journal`), and of the files that a syslog daemon or a distribution of
Kubernetes writes. A line is about the pod if it has one of its words: an id, a uid, its name. What
is newest is looked at, to a limit, and what was not is named::

    found = find_lines(host, ["4f2a91...", "shop/web-0"], since=1_790_000_000)
"""

from __future__ import annotations

import math
import os
import stat
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from itertools import chain

from collector.documents import BoundedNames, portable
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
MAX_ROTATED = 4
"""Rotated files of text that are looked through, and journals beside those being written."""
_OF_KERNEL = (b"kernel: ",)
_CURRENT = "/system.journal"
_PACKED = (".gz", ".xz", ".zst", ".bz2")
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class NodeLog:
    """What was found, and where it was looked for."""

    files: list[NetlinkRow] = field(default_factory=list)
    """Each file that was read, with its lines, and from when on it was read."""
    unreadable: dict[str, str] = field(default_factory=dict)
    since: float = 0.0
    """Lines of before are nobody's loss, in seconds since 1970."""
    older: BoundedNames = field(default_factory=BoundedNames)
    """What was not looked through though it may be of later than that."""
    _entries: int = journal.MAX_ENTRIES
    """Those of journals that are not being written any more which may still be looked at."""

    def look(self, host: Host, path: str, words: Sequence[bytes], transport: bytes = b"") -> None:
        """Look through one file."""
        try:
            with opened(host.open(path, _READ)) as file:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    self.unreadable[path] = "It is not a regular file"
                elif ".journal" in path:
                    self._journal(path, file, words, transport)
                else:
                    self._text(path, file, words)
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, journal.DamagedJournal) as error:
            self.unreadable[path] = str(error)

    def _journal(self, path: str, file: int, words: Sequence[bytes], transport: bytes) -> None:
        current = path.endswith(_CURRENT)
        most = journal.MAX_ENTRIES if current else self._entries
        row = journal.find_entries(file, words, most, transport=transport)
        self._entries -= 0 if current else row["looked"]
        self.files.append({"path": path, **row})
        if row["cut"] and _seconds(row["since"]) > self.since:
            self.older.add(f"{path} before {row['since'] or 'its end'}")
        if row["unread"]:
            self.older.add(f"{row['unread']} fields of {path}, damaged or packed by lz4")

    def _text(self, path: str, file: int, words: Sequence[bytes]) -> None:
        row = _tail(file, words)
        self.files.append({"path": path, **row})
        if row["from"]:
            self.older.add(f"the first {row['from']} bytes of {path}")
        if more := row["matches"] - len(row["lines"]):
            self.older.add(f"{more} lines of {path}")

    def look_at_rotated(
        self, host: Host, patterns: Iterable[str], words: Sequence[bytes], transport: bytes = b""
    ) -> None:
        """Look through files that were written since, the newest first; name those left out."""
        ages = dict[str, float]()
        for path in chain.from_iterable(self.matching(host, pattern) for pattern in patterns):
            if path.endswith(_CURRENT):
                continue
            with suppress(OSError), opened(host.open(path)) as place:
                told = os.fstat(place)
                if stat.S_ISREG(told.st_mode) and told.st_mtime >= self.since:
                    ages[path] = told.st_mtime
        left = MAX_ROTATED
        for path in sorted(ages, key=lambda path: ages[path], reverse=True):
            if left and not path.endswith(_PACKED):
                left -= 1
                self.look(host, path, words, transport)
            else:
                self.older.add(path)

    def matching(self, host: Host, pattern: str) -> list[str]:
        """Return paths; a folder that refuses is noted."""
        try:
            return host.matching(pattern)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.unreadable[pattern] = str(error)
            return []


def find_lines(host: Host, words: Sequence[str], since: float = 0.0) -> NodeLog:
    """Look through what of the node's logs can be reached. It blocks."""
    found, wanted = NodeLog(since=since), [word.encode() for word in words if word]
    for path in TEXT_FILES:
        found.look(host, path, wanted)
    found.look_at_rotated(host, (f"{path}[.-]*" for path in TEXT_FILES), wanted)
    _look_at_journals(found, host, wanted)
    return found


def find_kernel_lines(host: Host, since: float = 0.0) -> NodeLog:
    """Look for the kernel's own lines, which daemons of logs have copied. It blocks."""
    found = NodeLog(since=since)
    _look_at_journals(found, host, (), KERNEL)
    for path in KERNEL_FILES:
        found.look(host, path, _OF_KERNEL)
    found.look_at_rotated(host, (f"{path}[.-]*" for path in KERNEL_FILES), _OF_KERNEL)
    found.files = [row for row in found.files if row["lines"]]
    return found


def _look_at_journals(
    found: NodeLog, host: Host, words: Sequence[bytes], transport: bytes = b""
) -> None:
    """Look through those that are being written, then through archived ones and users'."""
    machines = [path for folder in JOURNALS for path in found.matching(host, f"{folder}/*")]
    if len(machines) > MAX_JOURNALS:
        found.older.add(f"{len(machines) - MAX_JOURNALS} folders of journals")
    for machine in machines[:MAX_JOURNALS]:
        found.look(host, f"{machine}{_CURRENT}", words, transport)
    others = (f"{machine}/*.journal*" for machine in machines[:MAX_JOURNALS])
    found.look_at_rotated(host, others, words, transport)


def _seconds(time: str | None) -> float:
    """Return a time since 1970; of none at all, the last that there is."""
    return datetime.fromisoformat(time).timestamp() if time else math.inf


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
