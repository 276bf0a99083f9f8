"""Where a container's processes come from: those above them, and which of them somebody sent in.

::

    family = Ancestry.of(first, pids)
    family.entered(4711)    # whether it was started from outside: an exec session, or nsenter

Whose doing a process is, its terminal, its session and its login say (`login`).

Source: proc_pid_stat(5), proc_pid_loginuid(5), Documentation/admin-guide/devices.txt
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from collector.documents import portable
from collector.node.procfs import Process

MAX_ANCESTORS = 256
"""Processes of the node that are followed."""
MAX_COMMAND = 16 * 1024
"""Bytes of an ancestor's command."""


@dataclass
class Ancestry:
    """The parents of a container's processes."""

    first: int
    limit: int = MAX_ANCESTORS
    parents: dict[int, int] = field(default_factory=dict)
    """Of each process of the container, its parent."""
    above: dict[int, int] = field(default_factory=dict)
    """Of each process of the node that leads to one of the container, its parent; 0 for none."""

    @classmethod
    def of(cls, first: int, pids: Iterable[int], limit: int = MAX_ANCESTORS) -> Ancestry:
        """Look up the parents of these processes; `first` is the container's first. It blocks."""
        family = cls(first, limit)
        for pid in pids:
            with suppress(OSError, StopIteration), Process.open(pid) as process:
                family.parents[pid] = process.parent
        for parent in [*family.parents.values()]:
            family._follow(parent)
        return family

    def _follow(self, pid: int) -> None:
        while pid and pid not in self.parents and pid not in self.above:
            if len(self.above) >= self.limit:
                return
            parent = 0
            with suppress(OSError, StopIteration), Process.open(pid) as process:
                parent = process.parent
            self.above[pid] = parent
            pid = parent

    def entered(self, pid: int) -> bool:
        """Whether a process was started by one outside of the container, and is not its first.

        So it is with what an exec session starts, and with what enters by nsenter(1). In a
        container without a PID namespace of its own also orphans have a parent outside.
        """
        return pid != self.first and pid in self.parents and self.parents[pid] not in self.parents

    def rows(self) -> list[dict[str, Any]]:
        """Return `pid`, `ppid`, `comm` and `cmdline` of those above, from the top. It blocks."""
        found: list[dict[str, Any]] = []
        for pid, parent in reversed([*self.above.items()]):
            with suppress(OSError), Process.open(pid) as process:
                command = process.read("cmdline", MAX_COMMAND).removesuffix(b"\0").split(b"\0")
                found.append(
                    {
                        "pid": pid,
                        "ppid": parent,
                        "comm": portable(process.read("comm").removesuffix(b"\n")),
                        "cmdline": [portable(part) for part in command if part],
                    }
                )
        return found


_UNSET = 2**32 - 1
"""What the kernel says where nobody logged in."""
_SLAVES = range(136, 144)
"""Major numbers of the terminals of /dev/pts."""
_PER_MAJOR = 256
_CONSOLES = {0: "tty", 1: "console", 2: "ptmx"}
_SERIAL = 64
"""The first minor number of a serial line among those of major number 4."""


def login(process: Process, stat: Sequence[bytes]) -> dict[str, Any]:
    """Return `session`, `processGroup`, `terminal`, `loginUid` and `auditSession`.

    `stat` are the fields behind the name. The last three are null where there is none.
    """
    return {
        "session": int(stat[3]),
        "processGroup": int(stat[2]),
        "terminal": terminal(int(stat[4])),
        "loginUid": _number(process, "loginuid"),
        "auditSession": _number(process, "sessionid"),
    }


def terminal(device: int) -> str | None:
    """Return what the terminal of this number is called in /dev: `pts/0`; None for none.

    That of a container is counted in the container's own /dev/pts.
    """
    if device == 0:
        return None
    # The kernel prints it as a signed number, twelve bits of major amid twenty of minor number.
    device &= _UNSET
    major, minor = device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00
    if major in _SLAVES:
        return f"pts/{(major - _SLAVES.start) * _PER_MAJOR + minor}"
    if major == 4:
        return f"tty{minor}" if minor < _SERIAL else f"ttyS{minor - _SERIAL}"
    return _CONSOLES[minor] if major == 5 and minor in _CONSOLES else f"{major}:{minor}"


def _number(process: Process, name: str) -> int | None:
    with suppress(OSError, ValueError):
        number = int(process.read(name))
        return None if number == _UNSET else number
    return None
