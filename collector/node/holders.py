"""Which processes of the node have a socket open, or a program or map of eBPF.

One walk through the open files of all processes, in bounded number and time, those of the pod
first: a socket of its network that a process elsewhere holds is worth knowing::

    holders = find_holders([4711])
    holders.sockets[123]        # [4711]

Source: proc_pid_fd(5), kernel/bpf/syscall.c (`bpf_prog_show_fdinfo` and its like)
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from collector.node.procfs import Process, pids

MAX_LINKS = 128 * 1024
"""Open files that are looked at."""
MAX_HELD = 64
"""Processes that are named for one object."""
SECONDS = 10.0
_SOCKET = re.compile(rb"socket:\[(\d+)\]")
_BPF = re.compile(rb"anon_inode:\[?bpf[-_](prog|map|link)\]?")
_LITTLE = 4096


@dataclass(slots=True)
class Holders:
    """Who has what open."""

    sockets: dict[int, list[int]] = field(default_factory=dict)
    """Processes, by the inode of a socket."""
    objects: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    """Processes, by sort (`prog`, `map`, `link`) and id of what is of eBPF."""
    unseen: int = 0
    """Processes that were not looked at wholly: too many open files, too little time."""


def find_holders(
    first: Iterable[int], links: int = MAX_LINKS, seconds: float = SECONDS, *, others: bool = True
) -> Holders:
    """Look at the open files of these processes, then of all `others`. It blocks."""
    found, until = Holders(), time.monotonic() + seconds
    for pid in dict.fromkeys([*first, *(pids() if others else ())]):
        with suppress(OSError), Process.open(pid) as process:
            room = links if time.monotonic() < until else 0
            names = process.numbers("fd", room + 1)
            found.unseen += len(names) > room
            links -= len(names[:room])
            for name in names[:room]:
                with suppress(OSError):
                    _note(found, process, name)
    return found


def _note(found: Holders, process: Process, name: int) -> None:
    link = process.link(f"fd/{name}")
    if match := _SOCKET.fullmatch(link):
        _add(found.sockets.setdefault(int(match[1]), []), process.pid)
    elif match := _BPF.fullmatch(link):
        # That of a link has its program's id, too.
        own = re.compile(rb"^%b_id:\s*(\d+)$" % match[1], re.MULTILINE)
        for number in own.findall(process.read(f"fdinfo/{name}", _LITTLE)):
            key = match[1].decode(), int(number)
            _add(found.objects.setdefault(key, []), process.pid)


def _add(holders: list[int], pid: int) -> None:
    if pid not in holders[-1:] and len(holders) < MAX_HELD:
        holders.append(pid)
