"""A container's processes, found by more than one way: what one of them leaves out is hidden.

::

    search = MemberSearch(first, key)
    search.look()
    for pid, ways in search.found.items(): ...

A listing of /proc can be falsified: by a program that filters it, by what is mounted over a folder
of it. So its processes are also told by their parents, by the cgroup, and by asking for numbers.

Source: proc_pid_task(5), cgroups(7), kill(2), proc(5) on hidepid, capabilities(7)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from collector.files.mounttable import Mount, holder, parse_table
from collector.node.abandonable import raise_if_abandoned
from collector.node.numbers import RESERVE, Probe, highest, latest, same_pid_namespace
from collector.node.procfs import Boundary, Process, host_proc, pids

MAX_THREADS = 16 * 1024
"""Threads of one container that are asked for their children."""
SECONDS = 0.1
"""Time for asking for numbers: some 200,000 by kill(2), half as many or fewer in /proc."""
MAX_GROUPS = 512
"""Cgroups of one container that are read."""
MAX_MEMBERS = 64 * 1024
"""Processes of one cgroup that are read."""
LISTING, CHILDREN, CGROUP, NUMBER = "listing", "children", "cgroup", "number"
RUNTIME = "runtime"


@dataclass
class MemberSearch:
    """One search for a container's processes; it blocks."""

    first: int
    """Its first process."""
    key: str
    """Its ID."""
    listed: Sequence[int] = ()
    """Processes that the runtime counts as the container's."""
    seconds: float = SECONDS
    listing: Callable[[], list[int]] = pids
    found: dict[int, set[str]] = field(default_factory=dict)
    """The ways that each process was found by."""
    covered: list[int] = field(default_factory=list)
    """Processes whose folder in /proc something is mounted over."""
    hidden: list[int] = field(default_factory=list)
    """Processes that the listing does not have, though they are there."""
    untried: int = 0
    """Numbers that there was no time to ask for."""
    unasked: int = 0
    """Threads, or processes that have some, that were not asked for their children."""
    unread: int = 0
    """Cgroups that were not read, or not to their end."""
    shares: bool = False
    """Whether the container has the machine's PID namespace, so that its processes can leave it."""
    max_threads: int = MAX_THREADS
    max_groups: int = MAX_GROUPS

    def look(self) -> None:
        """Search. Raises `OSError` where the first process has ended."""
        boundary, listed = Boundary(self.first, self.key), self.listing()
        self.shares = boundary.shares
        for pid in listed:
            if _is_member(pid, boundary):
                self._add(pid, LISTING)
        self._ask_cgroups(boundary)
        for pid in self.listed:
            self._add(pid, RUNTIME)
        self._ask_parents()
        self._ask_numbers({*listed}, boundary)
        self._compare()

    def _add(self, pid: int, way: str) -> bool:
        """Note a process; return whether it was not known."""
        new = pid not in self.found
        self.found.setdefault(pid, set()).add(way)
        return new

    def _ask_parents(self) -> None:
        waiting = sorted(self.found)
        while waiting and self.max_threads > 0:
            raise_if_abandoned()
            waiting += [pid for pid in self._children(waiting.pop()) if self._add(pid, CHILDREN)]
        self.unasked += len(waiting)

    def _children(self, pid: int) -> list[int]:
        """Return the children of all threads of a process, as they say it."""
        with suppress(OSError), Process.open(pid) as process:
            if process.covered:
                self.covered.append(pid)
            # `children` is one thread's alone; kernels without CONFIG_PROC_CHILDREN have none.
            threads = process.numbers("task", self.max_threads + 1)
            if len(threads) > self.max_threads:
                self.unasked += process.count("task") - self.max_threads
                del threads[self.max_threads :]
            self.max_threads -= len(threads)
            return [
                int(child)
                for thread in threads
                for child in _read_or_nothing(process, f"task/{thread}/children").split()
            ]
        return []

    def _ask_cgroups(self, boundary: Boundary) -> None:
        """Ask the cgroups, which number processes as their reader sees them: not so in a Job."""
        if same_pid_namespace(host_proc()):
            for folder in cgroup_folders(boundary.groups):
                for pid in self._within(folder):
                    self._add(pid, CGROUP)

    def _within(self, folder: Path) -> Iterator[int]:
        """Yield the processes of a cgroup and of those beneath it."""
        waiting = [folder]
        for _ in range(self.max_groups):
            if not waiting:
                return
            group = waiting.pop()
            with suppress(OSError), os.scandir(group) as entries:
                waiting += [Path(entry.path) for entry in entries if entry.is_dir()]
            # One of threads only tells no processes: that around it does.
            with suppress(OSError), (group / "cgroup.procs").open("rb") as file:
                yield from (int(line) for line in islice(file, MAX_MEMBERS) if int(line))
                self.unread += bool(file.readline())
        self.unread += len(waiting)

    def _ask_numbers(self, listed: set[int], boundary: Boundary) -> None:
        """Ask for numbers, first for those given out since the container began: intruders came
        later than it."""
        proc = host_proc()
        end, low = highest(proc) + 1, min(self.found)
        late = min(max(latest(proc), *listed) + RESERVE, end)
        probe = Probe(proc, time.monotonic() + self.seconds)
        for numbers in (range(low, late), range(late, end), range(1, min(low, end))):
            for pid in probe.look(numbers, listed):
                if _lives(pid) and _is_member(pid, boundary):
                    self._add(pid, NUMBER)
        self.untried = probe.left

    def _compare(self) -> None:
        """Find out which are hidden; one that began after the listing is not."""
        odd = [pid for pid, ways in self.found.items() if LISTING not in ways]
        listed = set(self.listing()) if odd else set[int]()
        for pid in odd:
            if pid in listed:
                self.found[pid].add(LISTING)
            elif _lives(pid):
                self.hidden.append(pid)
            else:
                del self.found[pid]


def find_members(first: int, key: str, seconds: float = 0.0) -> list[int]:
    """Return the processes of the container `key`; numbers are only tried for so many seconds.

    Raises `OSError` where the first process has ended.
    """
    search = MemberSearch(first, key, seconds=seconds)
    search.look()
    return sorted(search.found)


def _is_member(pid: int, boundary: Boundary) -> bool:
    with suppress(OSError), Process.open(pid) as process:
        return boundary.holds(process)
    return False


def _lives(pid: int) -> bool:
    """Whether a number is that of a process, not of a thread."""
    # /proc opens a thread by its number, too, though it lists processes only.
    with suppress(OSError), Process.open(pid) as process:
        return b"\nTgid:\t%d\n" % pid in process.read("status")
    return False


def _read_or_nothing(process: Process, name: str) -> bytes:
    with suppress(OSError):
        return process.read(name)
    return b""


def cgroup_folders(groups: Mapping[str, str]) -> list[Path]:
    """Return where the cgroups of these paths lie, by hierarchy, as far as they are mounted."""
    with suppress(OSError):
        mounts = list(parse_table(Path("/proc/self/mountinfo").read_bytes()))
        return [
            Path(os.fsdecode(mount.point + os.fsencode(path)))
            for name, path in groups.items()
            for mount in mounts
            # A cgroup outside of our cgroup namespace is shown as `/../..`.
            if ".." not in path.split("/") and _is_hierarchy(mount, os.fsencode(name))
        ]
    return []


def _is_hierarchy(mount: Mount, name: bytes) -> bool:
    kind = b"cgroup" if name else b"cgroup2"
    wanted = {*name.split(b",")} if name else set[bytes]()
    # A bind of a part of it has another root: the path would lead to another cgroup.
    return mount.kind == kind and mount.root == b"/" and wanted <= {*mount.options.split(b",")}


_PTRACE = 19
"""The capability that all of /proc is open to."""
_OPEN = frozenset({b"off", b"0"})


def restriction() -> str:
    """Return why processes may be out of sight; empty if none is."""
    with suppress(OSError, ValueError):
        mounts = parse_table(Path("/proc/self/mountinfo").read_bytes())
        mount = holder(os.fsencode(host_proc()), mounts)
        given = mount.options.split(b",") if mount and mount.kind == b"proc" else []
        options = dict(option.partition(b"=")[::2] for option in given)
        # Words since Linux 5.8 (`invisible`), numbers before (`2`).
        hiding = options.get(b"hidepid", b"off")
        trusted = int(options.get(b"gid", b"0")) in {os.getegid(), *os.getgroups()}
        if hiding not in _OPEN and not trusted and not _may_trace():
            return (
                f"{host_proc()} is mounted with hidepid={hiding.decode(errors='replace')}: this "
                "process sees only those of its own user. Give it the capability SYS_PTRACE"
            )
    return ""


def _may_trace() -> bool:
    lines = Path("/proc/thread-self/status").read_bytes().split(b"\n")
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(b"CapEff:")]
    return any(mask >> _PTRACE & 1 for mask in masks)
