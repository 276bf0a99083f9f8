"""What is mounted over a process's folder in a container's /proc, to hide it from those in there.

Source: proc_pid_mountinfo(5), https://attack.mitre.org/techniques/T1564/013/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from collector.files.mounttable import parse_table
from collector.node.procfs import Process

MAX_COVERS = 200
"""Mounts that are listed."""
MAX_NAMESPACES = 64
"""Mount namespaces that are looked at."""
_NUMBERED = re.compile(rb"/(\d+)(?:/|$)")


class CoveringMount(NamedTuple):
    """One mount."""

    point: bytes
    """Where it lies, for the process that sees it."""
    kind: bytes
    source: bytes
    seen_by: int
    """A process that has it in its table."""
    number: int
    """The hidden process, as the container numbers it."""
    hidden: int
    """The same as the node numbers it; 0 where there is none by now."""


@dataclass(frozen=True, slots=True)
class CoveringMounts:
    """The mounts over folders of processes, and how much was not looked at."""

    listed: Sequence[CoveringMount] = ()
    more: int = 0
    """Mounts that there was no room for."""
    unseen: int = 0
    """Views of mounts that were not looked at."""


def covers(
    pids: Iterable[int], *, most: int = MAX_COVERS, spaces: int = MAX_NAMESPACES
) -> CoveringMounts:
    """Return the mounts over folders of processes that these processes see. It blocks."""
    seers: dict[tuple[bytes, bytes], int] = {}
    numbers: dict[tuple[bytes, int], int] = {}
    for pid in pids:
        with suppress(OSError), Process.open(pid) as process:
            seers.setdefault((process.link("ns/mnt"), process.link("root")), pid)
            numbers[process.link("ns/pid"), process.numbered] = pid
    found, more = list[CoveringMount](), 0
    for pid in [*seers.values()][:spaces]:
        with suppress(OSError), Process.open(pid) as process:
            space = process.link("ns/pid")
            for point, kind, source, number in _points(process.read("mountinfo")):
                hidden = numbers.get((space, number), 0)
                if len(found) < most:
                    found.append(CoveringMount(point, kind, source, pid, number, hidden))
                else:
                    more += 1
    return CoveringMounts(found, more, max(len(seers) - spaces, 0))


def _points(table: bytes) -> Iterable[tuple[bytes, bytes, bytes, int]]:
    mounts = list(parse_table(table))
    procs = [mount.point.rstrip(b"/") for mount in mounts if mount.kind == b"proc"]
    for mount in mounts:
        for proc in procs:
            beneath = mount.point[len(proc) :] if mount.point.startswith(proc + b"/") else b""
            if match := _NUMBERED.match(beneath):
                yield mount.point, mount.kind, mount.source, int(match[1])
                break
