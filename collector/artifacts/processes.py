"""`processes.json`: every process of the container, as /proc shows it.

Shape: `{"method": "proc", "clockTicks": 100, "processes": [...]}`, one row a process. A value that
may hold any bytes is spelled as in `collector.documents`. `exeSha256` is of the program that
it runs, deleted or not, and null where that took too long. Files of /proc that were cut are listed
in the row's `truncated`, and under `notCaptured`; a process that could not be read has nothing but
`pid` and `unreadable`. Lists of arguments that are not ordinary are spelled as in
`collector.documents`. A long table of mounts is in one row; the others that see the same
have `mountinfoOf`, the process whose row it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from anyio import to_thread

from collector.container import ContainerCapture
from collector.documents import Names, streamed
from collector.gaps import deleted
from collector.node.abandonable import run_abandonable
from collector.node.process_row import Room, Row, describe
from collector.node.procfs import Process, companions
from collector.node.programs import Programs
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes

NAME = "processes.json"
METHOD = "proc"
TIMEOUT, LEAST = 5.0, 0.1
"""Seconds that reading one process may take; after many that hang, only the lesser."""
MAX_CUT = 200
"""Files that were cut and are named one by one in the manifest."""
HANGING = 60.0
"""Seconds that all processes that hang may cost."""


@dataclass(slots=True)
class _Reading:
    """One round through a container's processes."""

    capture: ContainerCapture
    notes: SourceNotes = field(default_factory=SourceNotes)
    room: Room = field(default_factory=Room)
    hung: Names = field(default_factory=Names)
    programs: Programs = field(default_factory=Programs)
    cut: list[tuple[int, str, int | None]] = field(default_factory=list)
    """Files of processes that are not here as a whole, each with its size if it is known."""
    cut_total: int = 0
    missed: int = 0
    """Processes for which there was no time."""
    _spent: float = 0

    async def rows(self, numbers: list[int]) -> AsyncIterator[list[str]]:
        for position, number in enumerate(numbers):
            if self.capture.is_over:
                self.missed = len(numbers) - position
                break
            row = await self._row(number)
            if row and "exe" in row:
                # Apart from the row: a large program must not make its process seem to hang.
                row["exeSha256"] = await self.programs.digest(number) or None
            if row:
                text = json.dumps(row, ensure_ascii=False)
                self.room.left -= len(text)
                del row
                yield [text]
        if self.missed or self.hung.total or self.cut_total:
            self.notes.flags.add(Flag.TRUNCATED)

    async def _row(self, number: int) -> Row | None:
        seconds = TIMEOUT if self._spent < HANGING else LEAST
        try:
            row = await run_abandonable(seconds, f"process {number}", read_row, number, self.room)
        except Unavailable as hung:
            self._spent += seconds
            self.hung.add(str(number))
            return {"pid": number, "unreadable": hung.reason}
        for name in (row or {}).get("truncated", ()):
            self._note_cut(number, name, (row or {}).get(name))
        return row

    def _note_cut(self, number: int, name: str, kept: object) -> None:
        self.cut_total += 1
        if len(self.cut) < MAX_CUT:
            self.cut.append((number, name, kept.get("size") if isinstance(kept, dict) else None))

    def account(self) -> None:
        """Record what is not there."""
        if self.missed:
            self.capture.record_time_gap(f"{NAME}, {self.missed} processes")
        if self.hung.total:
            self.capture.record_gap(
                f"{NAME}, details", "Hung", f"/proc said nothing of {self.hung}"
            )
        for pid, name, size in self.cut:
            message = f"/proc/{pid}/{name} was longer than what is kept of it"
            facts = {} if size is None else {"size": size}
            self.capture.record_gap(
                f"{NAME}, rest of files", "TooLarge", message, requested=True, pid=pid, **facts
            )
        if more := self.cut_total - len(self.cut):
            message = f"{more} more files of processes were cut; their rows say which"
            self.capture.record_gap(f"{NAME}, rest of files", "TooLarge", message)


async def collect(capture: ContainerCapture) -> None:
    """Store what /proc tells of each process; one that ends meanwhile is left out."""
    numbers = await members(capture, ArtifactKind.PROCESSES)
    if not numbers:
        return
    reading = _Reading(capture)
    await deleted.account(capture, numbers, reading.programs)
    head = {"method": METHOD, "clockTicks": os.sysconf("SC_CLK_TCK")}
    await capture.add(
        NAME,
        ArtifactKind.PROCESSES,
        streamed(head, "processes", reading.rows(numbers)),
        method=METHOD,
        media_type="application/json",
        notes=reading.notes,
        whole=True,
    )
    reading.account()


async def members(capture: ContainerCapture, kind: ArtifactKind) -> list[int]:
    """Return the container's processes; where there are none to see, record why `kind` is missing.

    A container in which nothing runs has no processes: nothing that was asked for is lost.
    """
    found: list[int] = []
    try:
        with suppress(FileNotFoundError):
            first = await capture.runtime.process(await capture.runtime.inspect(capture.container))
            found = await to_thread.run_sync(companions, first, capture.container.key)
    except Unavailable as why:
        capture.record_gap(kind, why.reason, str(why), requested=why.reason != "NotRunning")
        return []
    if not found:
        capture.record_gap(
            kind, "NotRunning", "The container ended during the capture", requested=False
        )
    return found


def read_row(number: int, room: Room | None = None) -> Row | None:
    """Return what /proc tells; of one that tells nonsense, only that."""
    try:
        with Process.open(number) as process:
            row = describe(process, room)
            return {**row, "truncated": process.cut} if process.cut else row
    except OSError:
        return None
    except (ValueError, LookupError) as error:
        return {"pid": number, "unreadable": f"{type(error).__name__}: {error}"}
