"""Namespaces that a container's processes went into: mounts and sockets there are not watched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from collector.documents import readable
from collector.node.procfs import Process

MAX_SPACES = 1024
"""Namespaces that are named."""
_SPACES = ("ns/mnt", "ns/net")


@dataclass(slots=True)
class OtherNamespaces:
    """Those that were seen so far; it blocks."""

    found: dict[str, None] = field(default_factory=dict)
    watched: set[bytes] = field(default_factory=set)
    """Those whose sockets are watched."""
    _first: frozenset[bytes] = frozenset()
    """Those of the first process."""
    _outside: frozenset[bytes] | None = None
    """Those of the machine's first process, and of the one that started the container's first: a
    runtime that puts somebody into the container comes from there."""
    _strange: set[tuple[int, bytes]] = field(default_factory=set)
    """Processes with others, as of the last look."""

    def begin(self, first: Process) -> None:
        """Take note of where the container's first process is."""
        self._first = frozenset(first.link(name) for name in _SPACES)
        if self._outside is None:
            self._outside = _links((1, first.parent))

    def look(self, pids: Iterable[int]) -> None:
        """Look at all processes; one that is elsewhere twice is not on its way into the container.

        A runtime that puts one there has it in the cgroup first, and then in the namespaces.
        """
        found = set[tuple[int, bytes]]()
        for pid in pids:
            with suppress(OSError), Process.open(pid) as process:
                found |= {(pid, space) for space in self._unwatched(process)}
        self._add(space for _, space in sorted(found & self._strange))
        self._strange = found

    def look_at(self, pid: int) -> None:
        """Look at a process that begins: it may be gone before the next look at all of them."""
        with suppress(OSError), Process.open(pid) as process:
            self._add(sorted({*self._unwatched(process)} - (self._outside or frozenset())))

    def _unwatched(self, process: Process) -> Iterator[bytes]:
        for name in _SPACES:
            if (space := process.link(name)) not in self.watched | self._first:
                yield space

    def _add(self, spaces: Iterable[bytes]) -> None:
        for space in spaces:
            if len(self.found) < MAX_SPACES:
                self.found[readable(space)] = None


def _links(pids: Iterable[int]) -> frozenset[bytes]:
    found = set[bytes]()
    for pid in pids:
        with suppress(OSError), Process.open(pid) as process:
            found |= {process.link(name) for name in _SPACES}
    return frozenset(found)
