"""Deleted files that processes still hold: in `deleted.tar`, each once, or a gap that names it.

They are looked for, and held, before any process is described; the archive is made once all are,
and holds the smallest first, as far as its budget goes. What is not in it is a gap with path,
process, size, and, as far as there is time, SHA-256.

Where processes were not asked for, no archive is made, and each of these files is a gap.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from anyio import to_thread

from collector.artifacts import kept
from collector.container import ContainerCapture
from collector.documents import readable
from collector.files.deletedarchive import DeletedArchive, DeletedFileLoss, DeletedFilesPlan
from collector.files.indexing import indexed
from collector.node.abandonable import run_abandonable
from collector.node.deletedfiles import MAX_FILES, MAX_LINKS, DeletedFile, DeletedFileSearch
from collector.node.members import find_members
from collector.node.programs import Programs
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.layout import DELETED_INDEX, DELETED_LOOKUP
from forensics_core.bundle.writer import shortened
from forensics_core.errors import DestinationError, UsageError

NAME = "deleted.tar"
METHOD = "proc"


@dataclass(frozen=True, slots=True)
class DeletedLimits:
    """What the deleted files of one container may cost."""

    seconds: float = 60.0
    """For looking at all processes; a thread that does not come back is given a tenth more."""
    files: int = MAX_FILES
    links: int = MAX_LINKS
    """Files, and open ones, that are looked at."""
    gaps: int = 300
    """Files that are listed one by one; the rest are counted."""
    kept: kept.KeptLimits = kept.LIMITS


LIMITS = DeletedLimits()


async def collect(capture: ContainerCapture) -> None:
    """Record what the container's processes hold, where nothing else looks at them."""
    with suppress(Unavailable, FileNotFoundError):
        first = await capture.runtime.process(await capture.runtime.inspect(capture.container))
        looking = partial(find_members, first, capture.container.key, census=capture.census)
        numbers = await to_thread.run_sync(looking)
        await account(capture, numbers, Programs())


async def account(
    capture: ContainerCapture,
    numbers: Sequence[int],
    programs: Programs,
    limits: DeletedLimits = LIMITS,
) -> None:
    """Find and hold each deleted file that these processes hold, once however many they are.

    Those that `store` is to store are in `capture.held.deleted`; the others are recorded.
    """
    try:
        await _account(capture, numbers, programs, limits)
    except Exception as error:  # what a container can provoke must not cost the other evidence
        message = f"It is not known which processes hold: {type(error).__name__}: {error}"
        capture.record_gap("deleted files", "Unexpected", message, requested=False)


async def _account(
    capture: ContainerCapture, numbers: Sequence[int], programs: Programs, limits: DeletedLimits
) -> None:
    until = time.monotonic() + limits.seconds
    search = DeletedFileSearch(until, links=limits.links, max_files=limits.files)
    try:
        await run_abandonable(limits.seconds * 1.1, "deleted files", search.look, numbers)
    except Unavailable as hung:
        search.until = 0  # the thread, should it come back, finds nothing more to do
        capture.record_gap(
            "deleted files", hung.reason, f"/proc did not answer: {hung}", requested=False
        )
    if ArtifactKind.PROCESSES not in capture.wanted:
        await kept.account(capture, numbers, limits=limits.kept)
        await _record_all(capture, search, programs, limits.gaps)
    else:
        await kept.account(capture, numbers, search, limits.kept)
        capture.held.deleted = _plan(search, capture.deleted_budget, programs)
    _record_unknown(capture, search)


def _plan(search: DeletedFileSearch, room: int, programs: Programs) -> DeletedFilesPlan:
    """Choose what is archived: the smallest first."""
    plan = DeletedFilesPlan(programs=programs)
    for file in sorted(search.files.values(), key=lambda file: file.stored):
        room -= file.stored
        (plan.archived if room >= 0 else plan.over).append(file)
    archived = {id(file) for file in plan.archived}
    for pid, places in search.members.items():
        files = ((place, search.files[key]) for place, key in places.items())
        plan.members[pid] = {place: file.member for place, file in files if id(file) in archived}
    return plan


def held_by(capture: ContainerCapture, pid: int) -> dict[str, str]:
    """Return which of the files that a process holds are archived, and as what: `{"exe": ...}`."""
    plan = capture.held.deleted
    return plan.members.get(pid, {}) if plan else {}


async def store(capture: ContainerCapture, limits: DeletedLimits = LIMITS) -> None:
    """Store the archive of what `account` found, if that was anything, and its index."""
    plan, capture.held.deleted = capture.held.deleted, None
    if plan is None:
        return
    try:
        await _store_planned(capture, plan, limits.gaps)
    except (DestinationError, UsageError):
        raise
    except Exception as error:  # as above
        files = len(plan.archived) + len(plan.over)
        message = f"{files} files could not be stored: {type(error).__name__}: {error}"
        capture.record_gap("deleted files", "Unexpected", message, requested=False)


async def _store_planned(capture: ContainerCapture, plan: DeletedFilesPlan, most: int) -> None:
    archive = DeletedArchive(capture.deleted_budget)
    if plan.archived:
        await _store(capture, archive, plan.archived)
    too_large = f"{NAME} takes {capture.deleted_budget} bytes at most, the smallest files first"
    late = DeletedFileLoss(capture.stop.reason, f"There was no time for it in {NAME}")
    missing = [(file, DeletedFileLoss("TooLarge", too_large)) for file in plan.over]
    for file in plan.archived:
        if file.member in archive.losses:
            missing.append((file, archive.losses[file.member]))
        elif file.member not in archive.done:
            missing.append((file, late))
    for file, loss in missing[:most]:
        hashed = loss.reason == "TooLarge" and not capture.is_over
        digest = await plan.programs.digest_held(file) if hashed else ""
        _record(capture, file, loss, digest)
    _record_rest(capture, [file for file, _ in missing[most:]])


async def _store(
    capture: ContainerCapture, archive: DeletedArchive, files: Sequence[DeletedFile]
) -> None:
    notes, kind = archive.notes, ArtifactKind.PROCESSES
    names = DELETED_INDEX, DELETED_LOOKUP
    async with indexed(capture, notes, archive.enrich, names, kind) as index:
        await capture.add(
            NAME,
            kind,
            archive.blocks(files),
            method=METHOD,
            media_type="application/x-tar",
            notes=notes,
            compression=capture.compression,
            taps=[index],
        )


async def _record_all(
    capture: ContainerCapture, search: DeletedFileSearch, programs: Programs, most: int
) -> None:
    """Record every file: there will be no archive of them."""
    found = list(search.files.values())
    loss = DeletedFileLoss(
        "Deleted", "Its bytes are captured with 'processes', which was not asked for"
    )
    for file in found[:most]:
        _record(capture, file, loss, await programs.digest(file.pid) if file.runs else "")
    _record_rest(capture, found[most:])


def _record(
    capture: ContainerCapture, file: DeletedFile, loss: DeletedFileLoss, digest: str
) -> None:
    path, command = shortened(readable(file.path)), readable(file.command)
    message = f"Process {file.pid} ({command}) {'runs' if file.runs else 'holds'} it; "
    message += "it has no name any more"
    if file.holders > 1:
        message += f". So do {file.holders - 1} other processes"
    facts: dict[str, str | int] = {"path": path, "pid": file.pid, "size": file.size}
    facts |= {"sha256": digest} if digest else {}
    message += f". {loss.message}"
    capture.record_gap(f"{file.how} {path}", loss.reason, message, requested=False, **facts)


def _record_rest(capture: ContainerCapture, rest: Sequence[DeletedFile]) -> None:
    if rest:
        size = sum(file.size for file in rest)
        message = f"{len(rest)} further files that processes hold have no name any more"
        what = "deleted files, the rest"
        capture.record_gap(what, "Deleted", message, requested=False, size=size)


def _record_unknown(capture: ContainerCapture, search: DeletedFileSearch) -> None:
    """Record what the search does not know."""
    if search.more:
        message = (
            f"There are more files without a name than are looked at: {search.more} times a "
            "process holds one of them"
        )
        capture.record_gap("deleted files, past a limit", "TooMany", message, requested=False)
    if search.unseen:
        numbers = sorted(set(search.unseen))
        shown = ", ".join(map(str, numbers[:50])) + (", ..." if len(numbers) > 50 else "")
        message = f"It is not known which deleted files {len(numbers)} processes hold: {shown}"
        capture.record_gap(
            "deleted files, of some processes", "Unreadable", message, requested=False
        )
