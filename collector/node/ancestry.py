"""Where a container's processes come from: those above them, and which of them somebody sent in.

::

    family = Ancestry.of(first, pids)
    family.entered(4711)    # whether it was started from outside: an exec session, or nsenter
"""

from __future__ import annotations

from collections.abc import Iterable
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
