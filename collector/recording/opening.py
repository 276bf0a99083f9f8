"""What a recording needs of the kernel, opened before anything of the container is read.

Each source may be refused, and is a gap then: fanotify wants CAP_SYS_ADMIN, the process connector
the machine's first namespaces and CAP_NET_ADMIN, packets CAP_NET_RAW.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from collector.documents import readable
from collector.node.abandonable import raise_if_abandoned
from collector.node.netlink import enter
from collector.node.numbers import same_pid_namespace
from collector.node.procfs import Process, host_proc, machine_network
from collector.node.tables import reason
from collector.recording.fanotify import Fanotify
from collector.recording.journal import EventJournal
from collector.recording.limits import RecordingLimits
from collector.recording.members import ContainerProcesses
from collector.recording.packets import Packets
from collector.recording.proc_events import ProcEvents
from collector.recording.sockets import Notices, SocketWatch, open_diag
from collector.recording.watch import ContainerWatch
from collector.recording.writes import Writes

MAX_NAMESPACES = 16
"""Network namespaces of one container that are watched."""
T = TypeVar("T")


@dataclass(slots=True)
class RecordingSources:
    """What is open for one container, and what could not be had."""

    watch: ContainerWatch
    packets: list[Packets] = field(default_factory=list)
    packets_in: dict[str, str] = field(default_factory=dict)
    """By network namespace the file that its packets are in."""
    missing: list[tuple[str, str, str]] = field(default_factory=list)
    """What of it, the manifest's word for why, and a message."""

    def described(self) -> dict[str, Any]:
        """Return what the first row of the recording says of it."""
        watch = self.watch
        return {
            "files": "fanotify" if watch.files else None,
            "processes": "connector" if watch.processes else "polling",
            "sockets": "polling" if watch.sockets else None,
            "socketEnds": "notices" if any(each.notices for each in watch.sockets) else "polling",
            "interval": watch.interval,
            "packets": self.packets_in,
            "pids": sorted(watch.members.known)[:1024],
        }

    def counted(self) -> dict[str, Any]:
        """Return what the last row says."""
        journal = self.watch.journal
        return {
            "events": journal.rows,
            "lost": dict(journal.lost),
            "overflows": dict(journal.unknown),
            "packets": sum(each.stored for each in self.packets),
            "packetsLost": sum(each.lost for each in self.packets),
        }

    def attempt(self, what: str, opening: Callable[[], T]) -> T | None:
        """Open a source, or note why it cannot be."""
        try:
            return opening()
        except OSError as error:
            self.missing.append((what, reason(error), str(error)))
            return None

    def close(self) -> None:
        """Give everything back."""
        self.watch.close()
        for packets in self.packets:
            packets.close()


def open_sources(
    first: int, key: str, limits: RecordingLimits, taken: dict[bytes, str], own: str
) -> RecordingSources:
    """Open what there is for the container `key` with the first process `first`.

    `taken` says of network namespaces in which file their packets are; it is added to, with `own`.
    This thread goes into these namespaces, and has to end with it. Raises `OSError` where the first
    process has ended.
    """
    missing = list[tuple[str, str, str]]()
    processes: ProcEvents | None = None
    try:
        # Before they are listed, so that none is missed in between; only the first network
        # namespace has it.
        processes = ProcEvents.open()
    except OSError as error:
        missing.append(("processes", reason(error), f"{error}. They are looked for instead"))
    watch = ContainerWatch(
        ContainerProcesses(first, key),
        EventJournal(limits),
        Writes(limits.names),
        limits.interval,
        processes=processes,
        same_pid_namespace=same_pid_namespace(host_proc()),
    )
    sources = RecordingSources(watch, missing=missing)
    try:
        watch.files = sources.attempt("writes", Fanotify.open)
        watch.mark()
        _open_networks(sources, limits, taken, own)
        if watch.files and not watch.same_pid_namespace:
            message = "The kernel numbers processes otherwise than their /proc: no writer is named"
            sources.missing.append(("who wrote", "NotVisible", message))
        raise_if_abandoned()
    except BaseException:
        sources.close()
        raise
    return sources


def _open_networks(
    sources: RecordingSources, limits: RecordingLimits, taken: dict[bytes, str], own: str
) -> None:
    machine, seen = machine_network(), set[bytes]()
    for pid in sorted(sources.watch.members.known):
        with suppress(FileNotFoundError, ProcessLookupError), Process.open(pid) as process:
            space = process.link("ns/net")
            if space not in seen and len(seen) < MAX_NAMESPACES:
                seen.add(space)
                name = readable(space)
                if sources.attempt("network", partial(_enter_namespace, process)):
                    _watch_sockets(sources, limits, name, space == machine)
                    _watch_packets(sources, limits, space, taken, own, space == machine)


def _enter_namespace(process: Process) -> bool:
    enter(process)
    return True


def _watch_sockets(
    sources: RecordingSources, limits: RecordingLimits, name: str, is_machines: bool
) -> None:
    if kernel := sources.attempt("sockets", open_diag):
        watch, notices = sources.watch, sources.attempt("ends of sockets", Notices)
        sockets = SocketWatch(
            kernel, watch.journal, name, is_machines, limits.sockets, limits.interval, notices
        )
        watch.sockets.append(sockets)
        # What there is from now on is new, whenever the first turn of the watch is.
        sources.attempt("sockets", partial(sockets.look, tuple))


def _watch_packets(
    sources: RecordingSources,
    limits: RecordingLimits,
    space: bytes,
    taken: dict[bytes, str],
    own: str,
    is_machines: bool,
) -> None:
    name = readable(space)
    if is_machines:
        message = "The container uses the node's own network: its packets are those of all"
        sources.missing.append(("packets", "NotSupported", message))
    elif space in taken:
        sources.packets_in[name] = taken[space]
    elif sources.packets:
        message = f"Only one network namespace of a container has its packets recorded, not {name}"
        sources.missing.append((f"packets of {name}", "NotSupported", message))
    elif packets := sources.attempt("packets", lambda: Packets.open(limits)):
        sources.packets.append(packets)
        sources.packets_in[name] = taken[space] = own
