"""What is mounted in a container: `mounts.json`, and in `mounts.tar.zst` what could be read of it.

File systems in memory, /dev/shm among them, and the few files that a runtime makes for each
container (/etc/hosts) are archived, with the paths that they have in the container. Every other
mount is listed in `notCaptured`, by path, type and source: its files are in no archive.

Shape: `{"method": "mountinfo", "mounts": [{"path": "/etc/hosts", "type": "ext4", "state":
"captured", ...}]}`. `state` is `root` for the container's own file system, `kernel` for views of
the kernel that hold no files, `captured`, or `missing`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from anyio import to_thread

from collector.artifacts import filesystem
from collector.container import ContainerCapture
from collector.documents import readable
from collector.files.indexing import indexed
from collector.files.mountarchive import Loss, MountArchive, Top
from collector.files.mounted import Survey, measure_all, open_uncovered, survey
from collector.files.mountplan import Fate, Planned, State, plan
from collector.files.safe_open import opened
from collector.gaps import deleted
from collector.node.abandonable import run_abandonable
from collector.node.host import Host
from collector.node.procfs import companions
from collector.node.threads import Apart
from collector.runtimes.declared import declared
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.layout import MOUNTS, MOUNTS_INDEX, MOUNTS_LOOKUP
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes, shortened
from forensics_core.errors import ContainerGone, DestinationError, ForensicsError, UsageError
from forensics_core.storage.objects import Buffer

NAME = "mounts.tar"
METHOD = "mounts"
MAX_TOPS = 256
"""Mounts in the archive: each is open all the time, so that nobody can replace it."""
TIMEOUT = 30.0
"""Seconds that looking at all mounts may take."""
MAX_GAPS = 400
"""Mounts that are listed one by one in the manifest; the rest are counted there, and are in
`mounts.json`."""


async def collect(capture: ContainerCapture) -> None:
    """Store the mounts, which go with the container's processes, and then its file system."""
    try:
        await _capture_mounts(capture)
    except (DestinationError, UsageError):
        raise
    except Exception as error:  # what a container can provoke must not cost the file system
        told = isinstance(error, ForensicsError | OSError)
        reason = error.reason if isinstance(error, Unavailable) else "Unreadable"
        message = str(error) if told else f"{type(error).__name__}: {error}"
        capture.record_gap("mounts", reason, f"What is mounted could not be read: {message}")
    if ArtifactKind.PROCESSES not in capture.wanted:
        await _capture_deleted(capture)
    await filesystem.collect(capture)


async def _capture_deleted(capture: ContainerCapture) -> None:
    try:
        await deleted.collect(capture)
    except ContainerGone as error:
        capture.record_gap("deleted files", "Gone", str(error), requested=False)


async def _capture_mounts(capture: ContainerCapture) -> None:
    seen, state = await _survey(capture)
    container, remote = capture.container, capture.runtime.machine is None
    planned = plan(seen, declared(container), state, remote=remote)
    with ExitStack() as stack:
        wanted = [each for each in planned if each.to_read]
        points = frozenset(each.path for each in seen.mounts if each.space == seen.mounts[0].space)
        opening = (stack, wanted, capture.runtime.machine, points)
        tops = await run_abandonable(TIMEOUT, "mounts", _open_all, *opening)
        if tops:
            archive = MountArchive()
            whole = await store(capture, archive, tops)
            for each in wanted:
                if each.to_read:
                    _judge(each, archive, whole)
    document: dict[str, object] = {
        "method": "mountinfo" if seen.spaces else "runtime",
        "mounts": _rows(planned),
    }
    await capture.add_json(MOUNTS, ArtifactKind.FILESYSTEM, document, method=METHOD)
    _account(capture, seen, planned)


async def _survey(capture: ContainerCapture) -> tuple[Survey, str]:
    """Return what is mounted, and the container's state as it is now.

    There is nothing mounted where no process of the container is on this machine.
    """
    try:
        now = await capture.runtime.inspect(capture.container)
    except ContainerGone:
        return Survey(), "removed"
    with suppress(Unavailable, FileNotFoundError):
        first = await capture.runtime.process(now)
        return await run_abandonable(
            TIMEOUT, "mounts", _look, first, capture.container.key
        ), now.state
    return Survey(), now.state


def _look(first: int, key: str) -> Survey:
    pids = companions(first, key)
    apart = Apart()
    apart.look(pids)
    seen = survey([first, *(pid for pid in pids if pid != first), *apart.threads], key)
    seen.unseen += apart.unseen
    measure_all(seen.mounts)
    return seen


def _open_all(
    stack: ExitStack, wanted: Sequence[Planned], machine: Host | None, points: frozenset[bytes]
) -> list[Top]:
    """Open what is to be archived; what cannot be opened is missing. Mounts lie at `points`."""
    tops: list[Top] = []
    for each in wanted:
        if len(tops) >= MAX_TOPS:
            each.fate = Fate(State.MISSING, "TooMany", f"{MAX_TOPS} mounts are archived at most")
            continue
        try:
            tops.append(stack.enter_context(_open(each, machine, points)))
        except OSError as error:
            why = error.strerror or str(error)
            each.fate = Fate(State.MISSING, "Unreadable", f"It could not be opened: {why}")
    return tops


@contextmanager
def _open(each: Planned, machine: Host | None, points: frozenset[bytes]) -> Iterator[Top]:
    if each.seen:
        with open_uncovered(each.seen) as place:
            yield Top(each.path, place, each.seen.is_file, points)
    elif machine:
        with opened(machine.open(each.source)) as place:
            yield Top(each.path, place, single=True)
    else:
        raise OSError("the runtime's machine is not in reach")


async def store(capture: ContainerCapture, archive: MountArchive, tops: Sequence[Top]) -> bool:
    """Store the archive and its index; return whether there was time for all of it."""
    notes, blocks = SourceNotes(), archive.blocks(tops)

    async def stream() -> AsyncIterator[Buffer]:
        while (block := await to_thread.run_sync(next, blocks, None)) is not None:
            if archive.changed.total:
                notes.flags.add(Flag.CHANGED_WHILE_READ)
            if any(loss.missing.total for loss in archive.losses.values()):
                notes.flags.add(Flag.TRUNCATED)
            yield block

    async with indexed(capture, notes, names=(MOUNTS_INDEX, MOUNTS_LOOKUP)) as index:
        in_time = await capture.add(
            NAME,
            ArtifactKind.FILESYSTEM,
            stream(),
            method=METHOD,
            media_type="application/x-tar",
            notes=notes,
            compression=capture.compression,
            taps=[index],
        )
    if archive.sockets:
        message = f"A tar archive cannot hold sockets: {archive.sockets} in mounts are left out"
        capture.record_gap("sockets in mounts", "NotSupported", message, requested=False)
    return in_time


def _judge(each: Planned, archive: MountArchive, whole: bool) -> None:
    """Take back what was promised of a mount that was not read, or not all of it."""
    loss = archive.losses.get(each.path, Loss())
    if not whole and each.path not in archive.done:
        each.fate = Fate(State.PARTIAL, "Deadline", "There was no time for all of it")
    elif loss.missing.total:
        message = f"Not all of it was read: {loss.why}. Missing: {loss.missing}"
        each.fate = Fate(State.PARTIAL, "TooLarge" if loss.size else "Unreadable", message)
        each.size = loss.size or None


def _rows(planned: Iterable[Planned]) -> list[dict[str, object]]:
    return [each.row() for each in planned]


def _account(capture: ContainerCapture, seen: Survey, planned: Iterable[Planned]) -> None:
    """List what is not in an archive, one gap a mount."""
    asked = ArtifactKind.VOLUMES in capture.wanted
    missing = [each for each in planned if each.fate.state in {State.MISSING, State.PARTIAL}]
    for each in missing[:MAX_GAPS]:
        capture.record_gap(
            f"mount {shortened(readable(each.path))}",
            each.fate.reason,
            each.fate.message,
            requested=each.fate.asked or (asked and each.volume),
            **each.facts(),
        )
    if more := len(missing) - MAX_GAPS + seen.more if len(missing) > MAX_GAPS else seen.more:
        message = f"{more} further mounts were not read; {MOUNTS} lists the first of them"
        capture.record_gap("mounts, the rest", "TooMany", message, requested=False)
    for root in seen.chrooted:
        message = (
            f"Every process of a mount namespace has its root at {readable(root)}: what is mounted "
            "outside of it is not in sight"
        )
        capture.record_gap("mounts, outside of a root", "NotVisible", message, requested=False)
    if seen.unseen:
        message = f"The mount tables of {seen.unseen} processes were not read"
        capture.record_gap("mounts, of some processes", "Unreadable", message, requested=False)
