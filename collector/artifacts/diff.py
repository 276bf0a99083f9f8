"""`diff.json`: how the container's file system differs from its image.

Shape: `{"method": "overlay-upperdir", "changes": [{"kind": "A", "path": "/tmp/x", ...}, ...]}` with
the kinds A (added), C (changed) and D (deleted); `collector.files.changes` says what else is in a
row.
Where the layers cannot be read, the runtime's own list takes its place (method `engine-api`), which
has kind and path only. The list is streamed, however long it is, and always valid JSON, also where
it had to be cut.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass

from anyio import to_thread

from collector.container import ContainerCapture
from collector.documents import streamed
from collector.files.changes import MAX_ROWS, TURN, ChangeSet, OpenLayers
from collector.files.hashing import HashingBudget
from collector.node.abandonable import run_abandonable
from collector.node.procfs import Process
from collector.runtimes.runtime import RuntimeChange, Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes

NAME = "diff.json"
METHOD = "overlay-upperdir"
ENGINE_METHOD = "engine-api"


@dataclass(frozen=True, slots=True)
class DiffLimits:
    """What the list of changes may cost."""

    share: float = 0.25
    """Of the time until the deadline: the archive, which has everything, is to get the rest."""
    seconds: float = 60.0
    """That one step of the walk may take before the storage counts as stuck."""
    rows: int = MAX_ROWS
    turn: int = TURN
    """Rows, and other steps of work, that are stored at a time."""


LIMITS = DiffLimits()
ComparisonWalk = Callable[..., ChangeSet]


async def collect(
    capture: ContainerCapture, limits: DiffLimits = LIMITS, walk: ComparisonWalk = ChangeSet
) -> None:
    """Store the changes; flagged where the list is cut, moved while it was made, or is reduced."""
    try:
        async with capture.layers() as layers:
            await _from_the_layers(capture, layers, limits, walk)
    except Unavailable as why:
        try:
            await _from_the_runtime(capture, why, limits)
        except Unavailable as neither:
            raise Unavailable(f"{why} {neither}", reason=why.reason) from neither


async def _from_the_layers(
    capture: ContainerCapture, layers: OpenLayers, limits: DiffLimits, walk: ComparisonWalk
) -> None:
    hashing = HashingBudget(until=capture.part(limits.share / 2))
    until = capture.part(limits.share)
    changes = walk(layers, max_rows=limits.rows, hashing=hashing, until=until, turn=limits.turn)
    notes = SourceNotes()
    head = {"method": METHOD, "uidMap": await _uid_map(capture)}
    rows = _read(capture, changes, notes, limits.seconds)
    await _store(capture, streamed(head, "changes", rows), METHOD, notes)
    _account(capture, changes, limits.seconds)
    if await capture.is_removed():
        message = "The container was removed: what it wrote and was not listed by then is missing"
        capture.record_gap(f"{NAME}, its rest", "Gone", message)


async def _read(
    capture: ContainerCapture, changes: ChangeSet, notes: SourceNotes, seconds: float
) -> AsyncIterator[list[str]]:
    """Walk in threads, a part at a time; a thread that does not come back ends the walk."""
    lists = changes.batches()
    try:
        while (batch := await run_abandonable(seconds, NAME, next, lists, None)) is not None:
            yield batch
            if capture.stop.requested:
                changes.end("Cancelled")
    except Unavailable as hung:
        changes.end(hung.reason)
    if changes.cut or changes.unlisted.total or changes.unreadable.total:
        notes.flags.add(Flag.TRUNCATED)
    for path in changes.changed.first:
        notes.remark(path, "It became something else, or went away, while it was read")
    if changes.changed.total:
        notes.flags.add(Flag.CHANGED_WHILE_READ)
        notes.remarks_total = changes.changed.total


_CUT = {
    "TooLarge": "The list was cut: it would have become too long",
    "Deadline": "The list was cut: its part of the time was over",
    "Cancelled": "The list was cut: the capture was told to end",
    "Hung": "The list was cut: the storage said nothing for {seconds:.0f} s",
}


def _account(capture: ContainerCapture, changes: ChangeSet, seconds: float) -> None:
    """Record what the list lacks."""
    if changes.cut:
        message = _CUT[changes.cut].format(seconds=seconds)
        capture.record_gap(f"{NAME}, its rest", changes.cut, message)
    if changes.unlisted.total:
        message = f"Too deep, or too many at once, to look into: {changes.unlisted}"
        capture.record_gap(f"{NAME}, directories", "TooLarge", message)
    if changes.unreadable.total:
        message = f"It could not be read: {changes.unreadable}"
        capture.record_gap(f"{NAME}, details", "Unreadable", message)
    if changes.hashing.skipped:
        message = (
            f"{changes.hashing.skipped} files are not hashed here, only in the archive's index"
        )
        capture.record_gap(f"{NAME}, SHA-256", "TooLarge", message, requested=False)


async def _uid_map(capture: ContainerCapture) -> str | None:
    """Return how the container's users are numbered on the machine, while it runs."""
    pid = capture.container.pid

    def read() -> str | None:
        with suppress(OSError), Process.open(pid or 0) as process:
            return process.read("uid_map").decode()
        return None

    return await to_thread.run_sync(read)


async def _from_the_runtime(
    capture: ContainerCapture, why: Unavailable, limits: DiffLimits
) -> None:
    with capture.stop.scope(capture.part(limits.share)) as scope:
        await _list(capture)
    if scope.cancelled_caught:
        capture.record_time_gap(ArtifactKind.DIFF)
        return
    message = f"The runtime's own list misses edits that keep size and time, and details: {why}"
    capture.record_gap("details of the changes", why.reason, message, requested=False)


async def _list(capture: ContainerCapture) -> None:
    notes = SourceNotes(flags={Flag.REDUCED_FIDELITY})
    async with capture.runtime.changes(capture.container) as changes:
        document = streamed({"method": ENGINE_METHOD}, "changes", _listed(changes, notes))
        await _store(capture, document, ENGINE_METHOD, notes)


async def _listed(
    changes: AsyncIterator[RuntimeChange], notes: SourceNotes
) -> AsyncIterator[list[str]]:
    async for change in changes:
        if "\ufffd" in change.path:
            notes.remark(change.path, "The runtime's list replaces bytes that are not UTF-8")
        yield [json.dumps({"kind": change.kind, "path": change.path}, ensure_ascii=False)]


async def _store(
    capture: ContainerCapture, document: AsyncIterator[bytes], method: str, notes: SourceNotes
) -> None:
    await capture.add(
        NAME,
        ArtifactKind.DIFF,
        document,
        method=method,
        media_type="application/json",
        notes=notes,
        whole=True,
    )
