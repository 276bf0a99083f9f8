"""`processes.json`: every process of the container, as /proc shows it.

Shape: `{"method": "proc", "clockTicks": 100, "processes": [...]}`, one row a process. A value that
may hold any bytes is spelled as in `collector.documents`. `exeSha256` is of the program that
it runs, deleted or not, and null where that took too long; `executables` are all files that it has
mapped as code, that program and its libraries, each with `path`, `device`, `inode` and `sha256`.
`deletedFiles` says of what it holds in which place, and nobody else has any more, which member of
`deleted.tar` it is: `{"fd/5": "1234/exe"}`. Files of /proc that were cut are listed
in the row's `truncated`, and under `notCaptured`; a process that could not be read has nothing but
`pid` and `unreadable`. Lists of arguments that are not ordinary are spelled as in
`collector.documents`. A long table of mounts is in one row; the others that see the same
have `mountinfoOf`, the process whose row it is. `foundBy` says by which ways a process was found,
and `hiddenBy` what keeps it from those who look for it. `ancestors` are the node's processes above;
`numbersUntried` counts the numbers that there was no time to look for processes under.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from anyio import to_thread

from collector.artifacts import deleted, execs, procarchive
from collector.artifacts.found import FoundProcesses, record_missing, search
from collector.container import ContainerCapture
from collector.documents import BoundedNames, streamed
from collector.node.abandonable import HangTimeouts, run_abandonable
from collector.node.members import SECONDS, find_members
from collector.node.process_row import ROW_LIMITS, ProcessRow, RowBudget, RowLimits, describe
from collector.node.procfs import Process
from collector.node.proctree import ProcTree
from collector.node.programs import Programs
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.layout import EXECS
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes

NAME = "processes.json"
METHOD = "proc"


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What the processes of one container may cost."""

    seconds: float = 5.0
    """For reading one process."""
    least: float = 0.1
    """For one after so many have hung that `hanging` is spent."""
    hanging: float = 60.0
    """Seconds that all processes that hang may cost."""
    cut: int = 200
    """Files that were cut and are named one by one in the manifest."""
    entered: int = 500
    """Processes that were started from outside and are told in `execs.json`."""
    rows: RowLimits = ROW_LIMITS


LIMITS = ProcessLimits()


@dataclass(slots=True)
class _ProcessRound:
    """One round through a container's processes."""

    capture: ContainerCapture
    found: FoundProcesses
    limits: ProcessLimits = LIMITS
    notes: SourceNotes = field(default_factory=SourceNotes)
    room: RowBudget = field(init=False)
    hung: BoundedNames = field(default_factory=BoundedNames)
    programs: Programs = field(default_factory=Programs)
    cut: list[tuple[int, str, int | None]] = field(default_factory=list)
    """Files of processes that are not here as a whole, each with its size if it is known."""
    cut_total: int = 0
    missed: int = 0
    """Processes for which there was no time."""
    refused: BoundedNames = field(default_factory=BoundedNames)
    """Processes of which this process may not read all."""
    entered: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Those that were started from outside, with a summary of each."""
    unnamed: int = 0
    """More of them, which only have their rows."""
    timeouts: HangTimeouts = field(init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self.room = RowBudget(limits.rows)
        self.timeouts = HangTimeouts(limits.seconds, limits.least, limits.hanging)

    async def rows(self, numbers: list[int]) -> AsyncIterator[list[str]]:
        for position, number in enumerate(numbers):
            if self.capture.is_over:
                self.missed = len(numbers) - position
                break
            row = await self._row(number)
            if row:
                row |= self.found.facts(number)
            if row and row["entered"]:
                self._note_entered(number, row)
            if row and "exe" in row:
                # Apart from the row: a large program must not make its process seem to hang.
                row |= await self.programs.describe(number)
                row["deletedFiles"] = deleted.held_by(self.capture, number)
            if row:
                text = json.dumps(row, ensure_ascii=False)
                self.room.left -= len(text)
                del row
                yield [text]
        if self.missed or self.hung.total or self.cut_total:
            self.notes.flags.add(Flag.TRUNCATED)

    def _note_entered(self, number: int, row: ProcessRow) -> None:
        if len(self.entered) < self.limits.entered:
            self.entered[number] = execs.summary(row)
        else:
            self.unnamed += 1

    async def _row(self, number: int) -> ProcessRow | None:
        try:
            what, seconds = f"process {number}", self.timeouts.now
            row = await run_abandonable(seconds, what, read_row, number, self.room)
        except Unavailable as hung:
            self.timeouts.lost()
            self.hung.add(str(number))
            return {"pid": number, "unreadable": hung.reason}
        if row and "refused" in row:
            self.refused.add(f"{number} ({', '.join(row['refused'])})")
        for name in (row or {}).get("truncated", ()):
            self._note_cut(number, name, (row or {}).get(name))
        return row

    def _note_cut(self, number: int, name: str, kept: object) -> None:
        self.cut_total += 1
        if len(self.cut) < self.limits.cut:
            self.cut.append((number, name, kept.get("size") if isinstance(kept, dict) else None))

    def account(self) -> None:
        """Record what is not there."""
        if self.missed:
            self.capture.record_time_gap(f"{NAME}, {self.missed} processes")
        if self.unnamed:
            message = (
                f"{self.unnamed} more processes were started from outside: 'entered' in {NAME} "
                "says which"
            )
            self.capture.record_gap(f"{EXECS}, its rest", "TooMany", message, requested=False)
        if self.hung.total:
            self.capture.record_gap(
                f"{NAME}, details", "Hung", f"/proc said nothing of {self.hung}"
            )
        if self.refused.total:
            message = (
                f"This process may not read all of {self.refused}. It needs root's rights, with "
                "the capability SYS_PTRACE, where no policy stands against it"
            )
            self.capture.record_gap(f"{NAME}, parts", "NotPermitted", message)
        for pid, name, size in self.cut:
            message = f"/proc/{pid}/{name} was longer than what is kept of it"
            facts = {} if size is None else {"size": size}
            self.capture.record_gap(
                f"{NAME}, rest of files", "TooLarge", message, requested=True, pid=pid, **facts
            )
        if more := self.cut_total - len(self.cut):
            message = f"{more} more files of processes were cut; their rows say which"
            self.capture.record_gap(f"{NAME}, rest of files", "TooLarge", message)


async def collect(capture: ContainerCapture, limits: ProcessLimits = LIMITS) -> None:
    """Store what /proc tells of each process; one that ends meanwhile is left out."""
    found = await search(capture)
    if found is None:
        return
    numbers = sorted(found.members.found)
    reading = _ProcessRound(capture, found, limits)
    await deleted.account(capture, numbers, reading.programs)
    head = {
        "method": METHOD,
        "clockTicks": os.sysconf("SC_CLK_TCK"),
        "numbersUntried": found.members.untried,
        "ancestors": found.ancestors,
    }
    await capture.add(
        NAME,
        ArtifactKind.PROCESSES,
        streamed(head, "processes", reading.rows(numbers)),
        method=METHOD,
        media_type="application/json",
        notes=reading.notes,
        whole=True,
    )
    await deleted.store(capture)
    reading.account()
    found.account(capture)
    await execs.store(capture, found.listed, reading.entered)
    tree = ProcTree(reading.room.contents)
    await procarchive.store(capture, tree, found.family, numbers, reading.timeouts)


async def members(capture: ContainerCapture, kind: ArtifactKind) -> list[int]:
    """Return the container's processes; where there are none to see, record why `kind` is missing.

    A container in which nothing runs has no processes: nothing that was asked for is lost. Numbers
    are not tried where that was done, or will be, for the list of processes.
    """
    found: list[int] = []
    seconds = 0.0 if ArtifactKind.PROCESSES in capture.wanted else SECONDS
    try:
        with suppress(FileNotFoundError):
            first = await capture.runtime.process(await capture.runtime.inspect(capture.container))
            found = await to_thread.run_sync(find_members, first, capture.container.key, seconds)
    except Unavailable as why:
        record_missing(capture, kind, why)
        return []
    if not found:
        record_missing(capture, kind)
    return sorted({*found, *capture.hidden}) if found else []


def read_row(number: int, room: RowBudget | None = None) -> ProcessRow | None:
    """Return what /proc tells; of one that tells nonsense, only that."""
    try:
        with Process.open(number) as process:
            row = describe(process, room)
            if room:
                room.account(process)
            missing = {"truncated": process.cut, "refused": process.refused}
            return row | {name: what for name, what in missing.items() if what}
    except OSError:
        return None
    except (ValueError, LookupError) as error:
        return {"pid": number, "unreadable": f"{type(error).__name__}: {error}"}
