"""Deleted files that processes still hold: a gap for each, with path, process and size.

Their bytes are in no archive. Of programs the SHA-256 is known, because they can be read at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from anyio import to_thread

from collector.container import ContainerCapture
from collector.documents import readable
from collector.gaps import kept as beyond
from collector.node.abandonable import run_abandonable
from collector.node.deletedfiles import DeletedFile, Search
from collector.node.procfs import companions
from collector.node.programs import Programs
from collector.runtimes.runtime import Unavailable
from forensics_core.bundle.writer import shortened
from forensics_core.errors import DestinationError, UsageError

TIMEOUT = 60.0
"""Seconds that looking at all processes may take."""
MAX_GAPS = 300
"""Files that are listed one by one; the rest are counted."""


async def collect(capture: ContainerCapture) -> None:
    """Record what the container's processes hold, where nothing else looks at them."""
    with suppress(Unavailable, FileNotFoundError):
        first = await capture.runtime.process(await capture.runtime.inspect(capture.container))
        numbers = await to_thread.run_sync(companions, first, capture.container.key)
        await account(capture, numbers, Programs())


async def account(capture: ContainerCapture, numbers: Sequence[int], programs: Programs) -> None:
    """Record each deleted file that these processes hold, once however many they are."""
    try:
        await _account(capture, numbers, programs)
    except (DestinationError, UsageError):
        raise
    except Exception as error:  # what a container can provoke must not cost the other evidence
        message = f"It is not known which processes hold: {type(error).__name__}: {error}"
        capture.record_gap("deleted files", "Unexpected", message, requested=False)


async def _account(capture: ContainerCapture, numbers: Sequence[int], programs: Programs) -> None:
    search = Search(time.monotonic() + TIMEOUT)
    try:
        await run_abandonable(TIMEOUT + 5, "deleted files", search.look, numbers)
    except Unavailable as hung:
        search.until = 0  # the thread, should it come back, finds nothing more to do
        capture.record_gap(
            "deleted files", hung.reason, f"/proc did not answer: {hung}", requested=False
        )
    found = list(search.files.values())
    for file in found[:MAX_GAPS]:
        await _record(capture, file, programs)
    _record_rest(capture, search, found[MAX_GAPS:])
    await beyond.account(capture, numbers)


async def _record(capture: ContainerCapture, file: DeletedFile, programs: Programs) -> None:
    path, command = shortened(readable(file.path)), readable(file.command)
    verb = "runs" if "executable" in file.how or "program" in file.how else "holds"
    message = f"Process {file.pid} ({command}) {verb} it; it has no name any more"
    if file.holders > 1:
        message += f". So do {file.holders - 1} other processes"
    facts: dict[str, str | int] = {"path": path, "pid": file.pid, "size": file.size}
    if verb == "runs" and (digest := await programs.digest(file.pid)):
        facts["sha256"] = digest
    capture.record_gap(f"{file.how} {path}", "Deleted", message, requested=False, **facts)


def _record_rest(capture: ContainerCapture, search: Search, rest: Sequence[DeletedFile]) -> None:
    if rest or search.more:
        size = sum(file.size for file in rest)
        message = f"{len(rest)} further files that processes hold have no name any more"
        if search.more:
            message += f", and there are more: {search.more} times a process holds one"
        what = "deleted files, the rest"
        capture.record_gap(what, "Deleted", message, requested=False, size=size)
    if search.unseen:
        numbers = sorted(set(search.unseen))
        shown = ", ".join(map(str, numbers[:50])) + (", ..." if len(numbers) > 50 else "")
        message = f"It is not known which deleted files {len(numbers)} processes hold: {shown}"
        capture.record_gap(
            "deleted files, of some processes", "Unreadable", message, requested=False
        )
