"""A container's processes as a capture finds them, and what it tells of those that are hidden."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from anyio import to_thread

from collector.container import ContainerCapture
from collector.documents import readable
from collector.node.abandonable import run_abandonable
from collector.node.ancestry import Ancestry
from collector.node.covers import CoveringMount, CoveringMounts, covers
from collector.node.members import MemberSearch, restriction
from collector.runtimes.runtime import RuntimeProcesses, Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.writer import shortened
from forensics_core.errors import ContainerGone, ForensicsError

TIMEOUT = 60.0
"""Seconds that finding the processes may take."""
MAX_HIDDEN_GAPS = 200
"""Hidden processes that have a gap each."""


@dataclass
class FoundProcesses:
    """What was found."""

    members: MemberSearch
    family: Ancestry
    listed: RuntimeProcesses
    covers: CoveringMounts = field(default_factory=CoveringMounts)
    ancestors: list[dict[str, Any]] = field(default_factory=list)

    def facts(self, pid: int) -> dict[str, Any]:
        """Return what a process's row says of how it was found, and how it came to be there."""
        by = self._hidden_by(pid)
        return {
            "foundBy": sorted(self.members.found.get(pid, ())),
            "entered": self.family.entered(pid),
            **({"hiddenBy": by} if by else {}),
        }

    def _hidden_by(self, pid: int) -> list[str]:
        ways = {
            "listing": pid in self.members.hidden,
            "mount on the node": pid in self.members.covered,
            "mount in the container": any(cover.hidden == pid for cover in self.covers.listed),
        }
        return [way for way, used in ways.items() if used]

    def account(self, capture: ContainerCapture) -> None:
        """Record each process that is hidden: it is here, but somebody does not want it seen."""
        for pid in self.members.hidden[:MAX_HIDDEN_GAPS]:
            ways = ", ".join(sorted(self.members.found[pid]))
            message = f"No listing of the node's /proc has process {pid}. It was found by: {ways}"
            _hidden(capture, f"hidden process {pid}", message, pid=pid)
        for pid in self.members.covered[:MAX_HIDDEN_GAPS]:
            message = f"On the node something is mounted over /proc/{pid}, which hides it there"
            _hidden(capture, f"covered process {pid}", message, pid=pid)
        for cover in self.covers.listed:
            self._record_cover(capture, cover)
        self._account_rest(capture)

    def _account_rest(self, capture: ContainerCapture) -> None:
        """Record how many more are hidden than have a gap of their own, or may be."""
        both = (self.members.hidden, self.members.covered)
        if more := sum(max(len(each) - MAX_HIDDEN_GAPS, 0) for each in both):
            message = f"{more} more processes are hidden: 'hiddenBy' in processes.json says which"
            _hidden(capture, f"hidden processes beyond {MAX_HIDDEN_GAPS}", message)
        self._account_search(capture)
        covered = self.covers
        if covered.more or covered.unseen:
            message = (
                f"{covered.more} more mounts lie over processes' folders in /proc, and "
                f"{covered.unseen} views of mounts were not looked at"
            )
            capture.record_gap("mounts over processes", "TooMany", message, requested=False)

    def _account_search(self, capture: ContainerCapture) -> None:
        """Record where processes were not looked for."""
        members = self.members
        if members.unasked or members.unread:
            message = (
                f"{members.unasked} threads were not asked for their children, and "
                f"{members.unread} cgroups not read: processes that no listing has may be theirs"
            )
            capture.record_gap("processes that are hidden", "TooMany", message, requested=False)
        if members.shares:
            message = (
                "The container shares the node's PID namespace: a process of it that left its "
                "cgroup, its mount namespace and its parents is not known as its own"
            )
            capture.record_gap("processes that left", "NotCertain", message, requested=False)

    @staticmethod
    def _record_cover(capture: ContainerCapture, cover: CoveringMount) -> None:
        path = shortened(readable(cover.point))
        whose = f"process {cover.number} of the container"
        whose += f" ({cover.hidden} on the node)" if cover.hidden else ", which has ended"
        kind, source = readable(cover.kind), shortened(readable(cover.source))
        message = (
            f"In the container something is mounted over {path} ({kind}, {source}), which hides "
            f"{whose} from those who look there"
        )
        facts: dict[str, str | int] = {"path": path, "pid": cover.hidden or cover.seen_by}
        _hidden(capture, f"mount over {path}", message, **facts)


def _hidden(capture: ContainerCapture, what: str, message: str, **facts: str | int) -> None:
    capture.record_gap(what, "Hidden", message, requested=False, **facts)


async def search(capture: ContainerCapture) -> FoundProcesses | None:
    """Find the container's processes; where there are none to see, record why they are missing."""
    kind, found, why = ArtifactKind.PROCESSES, None, None
    try:
        with suppress(FileNotFoundError, ProcessLookupError):
            container = await capture.runtime.inspect(capture.container)
            first = await capture.runtime.process(container)
            look = (first, capture.container.key, await _runtime_processes(capture))
            found = await run_abandonable(TIMEOUT, "processes", _look, *look)
    except PermissionError as error:
        why = Unavailable(f"/proc refuses: {error}", reason="NotPermitted")
    except Unavailable as error:
        why = error
    restricted = await to_thread.run_sync(restriction)
    if found is None:
        runs = why is None or why.reason != "NotRunning"
        unseen = restricted and runs and capture.runtime.machine is not None
        record_missing(
            capture, kind, Unavailable(restricted, reason="NotPermitted") if unseen else why
        )
        return None
    if restricted:
        capture.record_gap("processes of others", "NotPermitted", restricted)
    capture.hidden = found.members.hidden
    return found


async def _runtime_processes(capture: ContainerCapture) -> RuntimeProcesses:
    try:
        told = await capture.runtime.runtime_processes(capture.container)
        if told.omitted:
            message = (
                f"{told.omitted} sessions are not in execs.json: they are too many, or had ended "
                "and were forgotten"
            )
            capture.record_gap("exec sessions, the rest", "TooMany", message, requested=False)
        return told
    except ContainerGone:
        return RuntimeProcesses()
    except ForensicsError as error:
        message = f"The runtime does not tell what was started by exec: {error}"
        capture.record_gap("exec sessions", "Unavailable", message, requested=False)
        return RuntimeProcesses()


def _look(first: int, key: str, listed: RuntimeProcesses) -> FoundProcesses:
    members = MemberSearch(first, key, listed=listed.pids)
    members.look()
    pids = sorted(members.found)
    family = Ancestry.of(first, pids)
    return FoundProcesses(members, family, listed, covers(pids), family.rows())


def record_missing(
    capture: ContainerCapture, kind: ArtifactKind, why: Unavailable | None = None
) -> None:
    """Record why a kind of evidence that processes give is missing."""
    if why:
        capture.record_gap(kind, why.reason, str(why), requested=why.reason != "NotRunning")
    else:
        message = "The container ended during the capture"
        capture.record_gap(kind, "NotRunning", message, requested=False)
