"""Which files were written while an archive of them was read, as the recorder saw it.

GNU tar compares a file's times and size before and after: it misses what is written and put back,
and what is written between two files that belong together.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from collector.documents import readable
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes
from forensics_core.storage.objects import Buffer

if TYPE_CHECKING:
    from collector.container import ContainerCapture

WRITTEN = "written while the archive was read, as recorded"
"""The remark on each."""


async def noting_writes(
    capture: ContainerCapture, notes: SourceNotes, blocks: AsyncIterator[Buffer]
) -> AsyncIterator[Buffer]:
    """Pass the blocks of an archive of the root on, and note what was written meanwhile."""
    begin, settled = time.monotonic(), capture.writes is None
    try:
        async for block in blocks:
            yield block
        if capture.writes is not None:
            settled = await capture.writes.settled()
    finally:
        _note(capture, notes, begin, settled)


def _note(capture: ContainerCapture, notes: SourceNotes, begin: float, settled: bool) -> None:
    if capture.writes is None:
        return
    end = time.monotonic()
    # What tar noticed it says of the same member: one remark is enough.
    there = {remark.path for remark in notes.remarks}
    for path in capture.writes.between(begin, end):
        notes.flags.add(Flag.CHANGED_WHILE_READ)
        if (member := readable(b"." + path)) not in there:
            notes.remark(member, WRITTEN)
    if not settled or not capture.writes.is_whole(begin, end):
        message = "More was written while the files were read than could be recorded by name"
        what = "names of files written while read"
        capture.record_gap(what, "ChangedWhileRead", message, requested=False)
