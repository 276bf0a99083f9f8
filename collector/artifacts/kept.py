"""What a container keeps without any file that could be looked at: stored, or a gap for each.

Shared memory and message queues, file systems and namespaces that only an open descriptor keeps
alive, files on their way through a socket.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from anyio import to_thread

from collector.artifacts import unread
from collector.container import ContainerCapture
from collector.documents import readable
from collector.files.statx import statx
from collector.node.abandonable import run_abandonable
from collector.node.deletedfiles import DeletedFile, DeletedFileSearch
from collector.node.kernel_look import InKernel, look
from collector.node.registered import registered_files
from collector.node.sharedmemory import (
    MAX_SEGMENTS,
    Queue,
    SharedSegment,
    UnreadNamespace,
    segments,
)
from collector.node.threads import MAX_THREADS, SeparateThreads
from collector.node.unlisted import (
    MAX_KEPT,
    MAX_LINKS,
    MAX_UNREAD,
    RING,
    KeptReference,
    UnlistedSearch,
)
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.writer import shortened

_MEANINGS = {
    "mount": (
        "It is on a file system that is mounted nowhere in sight: unmounted while in use, or "
        "mounted by descriptor only. What else is there is not captured"
    ),
    "namespace": (
        "No process is in it, it is only kept alive. What is mounted or stored in it is not seen"
    ),
    "files": "Files are there that no process needs to have open; what they are is not in sight",
    "bytes": "Bytes wait there that nobody has read yet, and that are not captured",
}
_WHAT = {
    "mount": "file system of",
    "namespace": "namespace",
    "files": "files in",
    "bytes": "unread in",
}
_WITH_MOUNTS = frozenset({ArtifactKind.FILESYSTEM, ArtifactKind.VOLUMES})
"""Kinds with which the archive of mounts is made, later."""


@dataclass(frozen=True, slots=True)
class KeptLimits:
    """What looking for all that a container keeps may cost."""

    seconds: float = 60.0
    """For threads, and for shared memory."""
    search_seconds: float = 60.0
    """For everything else; a thread that does not come back is given a tenth more."""
    kept: int = MAX_KEPT
    unread: int = MAX_UNREAD
    """Bytes that wait unread which are kept."""
    threads: int = MAX_THREADS
    links: int = MAX_LINKS
    segments: int = MAX_SEGMENTS
    """Of shared memory, and message queues."""


LIMITS = KeptLimits()


async def account(
    capture: ContainerCapture,
    numbers: Sequence[int],
    found: DeletedFileSearch | None = None,
    limits: KeptLimits = LIMITS,
) -> None:
    """Record what these processes, and their threads, keep.

    Segments of shared memory go to the deleted files that were found, if there are any such to be
    stored: one that a process has attached is among them.
    """
    search, apart = _search(limits), SeparateThreads(left=limits.threads)
    try:
        await run_abandonable(limits.seconds, "threads", apart.look, numbers)
        everyone = [*numbers, *apart.threads]
        seconds = limits.search_seconds * 1.1
        await run_abandonable(seconds, "what processes keep", search.look, everyone)
    except Unavailable as hung:
        search.until, everyone = 0, [*numbers]
        message = f"What processes keep without a name is not known: {hung}"
        capture.record_gap("kept by processes", hung.reason, message, requested=False)
    stored = not _WITH_MOUNTS.isdisjoint(capture.wanted)
    there = [await _with_registered(capture, kept, limits.seconds) for kept in search.kept.values()]
    for kept in await to_thread.run_sync(unread.add_all, found, there):
        if kept.how == "mount" and kept.held and stored:
            capture.held.kept.append(kept)
        else:
            _record(capture, kept, stored=found is not None)
    kernel = await _look_into_kernel(capture, search, numbers, found, limits.seconds)
    if streams := search.streams + kernel.unseen:
        message = (
            "Processes have terminals open, and sockets into which nobody else may look, "
            f"{streams} in all. What nobody has read from them yet is in no artifact"
        )
        message += f". The kernel's memory is not to be read: {kernel.why}" if kernel.why else ""
        capture.record_gap(
            "unread in sockets and terminals", "NotVisible", message, requested=False
        )
    if unseen := len({*search.unseen}) + apart.unseen:
        message = f"It is not known what {unseen} processes keep without a name"
        capture.record_gap("kept by some processes", "Unreadable", message, requested=False)
    if search.more:
        message = f"Processes keep {search.more} further things that no table shows"
        capture.record_gap("kept by processes, the rest", "TooMany", message, requested=False)
    await _record_memory(capture, everyone, found, limits)


def _search(limits: KeptLimits) -> UnlistedSearch:
    until = time.monotonic() + limits.search_seconds
    return UnlistedSearch(until, links=limits.links, most=limits.kept, room=limits.unread)


async def _with_registered(
    capture: ContainerCapture, kept: KeptReference, seconds: float
) -> KeptReference:
    """Return what a process keeps, with the files that it has registered with io_uring."""
    if kept.how != "files" or not kept.name.startswith(RING):
        return kept
    host = capture.runtime.machine
    if host is None:
        return kept
    asked = registered_files, kept.pid, kept.where, host
    try:
        return replace(kept, files=await run_abandonable(seconds, "files of io_uring", *asked))
    except (Unavailable, OSError):
        return kept


async def _look_into_kernel(
    capture: ContainerCapture,
    search: UnlistedSearch,
    numbers: Sequence[int],
    found: DeletedFileSearch | None,
    seconds: float,
) -> InKernel:
    """Add what is to be had in the kernel's memory only, and record which keys are not."""
    terminals = search.terminals
    if found is None:
        return InKernel(unseen=len(terminals))
    try:
        kernel = await run_abandonable(seconds, "terminals and keys", look, terminals, numbers)
    except Unavailable as hung:
        kernel = InKernel(unseen=len(terminals), processes=len(numbers), why=str(hung))
    await to_thread.run_sync(unread.add_terminals, found, kernel.unread)
    await to_thread.run_sync(unread.add_keys, found, kernel.keys.values())
    if missing := kernel.hidden + kernel.more:
        message = f"The payloads of {missing} keys in keyrings are not in sight. {kernel.why}"
        capture.record_gap("payloads of keys", "NotVisible", message.rstrip(), requested=False)
    if kernel.processes:
        message = f"The keyrings of {kernel.processes} processes were not looked into. {kernel.why}"
        capture.record_gap("keyrings", "NotVisible", message.rstrip(), requested=False)
    return kernel


def record_unstored(capture: ContainerCapture) -> None:
    """Record the file systems that were to be stored with the mounts, which could not be."""
    for kept in capture.held.kept:
        _record(capture, kept)
    capture.held.kept = []


def _record(capture: ContainerCapture, kept: KeptReference, *, stored: bool = False) -> None:
    """Record what is missing; `stored`: what could be had of it is in the deleted files."""
    name = shortened(readable(kept.name))
    message = f"{_MEANINGS[kept.how]}. Process {kept.pid} keeps it (/proc/{kept.pid}/{kept.where})"
    if kept.how == "files":
        message += f", {kept.count} of them"
        message += "".join(f"; {shortened(readable(name))}" for name, _ in kept.files[:8])
    what = f"{_WHAT[kept.how]} {name}"
    facts: dict[str, str | int] = {"path": name, "pid": kept.pid}
    if kept.how == "bytes":
        facts["size"] = kept.count
        if stored and kept.data:
            message += f". Only the first {len(kept.data)} of {kept.count} are stored"
    capture.record_gap(what, "NotVisible", message, requested=False, **facts)


async def _record_memory(
    capture: ContainerCapture,
    numbers: Sequence[int],
    found: DeletedFileSearch | None,
    limits: KeptLimits,
) -> None:
    def missing(space: bytes, number: int) -> bool:
        return bool(found) and (space, number) not in attached

    most = limits.segments
    attached = {(space, inode) for _, inode, space in (found.files if found else ()) if space}
    try:
        kept = await run_abandonable(limits.seconds, "shared memory", segments, numbers, missing)
    except (Unavailable, OSError) as error:
        message = f"Shared memory and message queues could not be listed: {error}"
        capture.record_gap("shared memory", "NotPermitted", message, requested=False)
        return
    shared = [each for each in kept if isinstance(each, SharedSegment)]
    if found:
        # As many as there are: to have them listed and held is what is bounded.
        for each in shared:
            _add(found, each)
        shared = [each for each in shared if not each.file and missing(each.space, each.number)]
    _record_each(capture, "shared memory", shared, _record_segment, most)
    for space in kept:
        if isinstance(space, UnreadNamespace):
            _record_space(capture, space)
    queues = [each for each in kept if isinstance(each, Queue)]
    if found:
        queues = await to_thread.run_sync(unread.add_queues, found, queues)
    _record_each(capture, "message queues", queues, _record_queue, most)


def _add(found: DeletedFileSearch, segment: SharedSegment) -> None:
    """Count a segment among the deleted files, or say more of the file that is one of them."""
    for key, file in found.files.items():
        if key[1:] == (segment.number, segment.space):
            file.facts = segment.facts()
            return
    if segment.file:
        status, path = statx(segment.file.number), b"/SYSV%08x" % segment.key
        file = DeletedFile(
            "shared memory",
            path,
            segment.pid,
            f"sysvipc/{segment.number}",
            status,
            segment.file,
            holders=0,
            facts=segment.facts(),
        )
        found.files[status.device, segment.number, segment.space] = file


def _record_each(
    capture: ContainerCapture,
    what: str,
    found: Sequence[object],
    tell: Callable[..., None],
    most: int,
) -> None:
    for each in found[:most]:
        tell(capture, each)
    if len(found) > most:
        message = f"There are more than {most} of {what}"
        capture.record_gap(f"{what}, the rest", "NotSupported", message, requested=False)


def _record_space(capture: ContainerCapture, unread: UnreadNamespace) -> None:
    message = (
        f"{unread.why}. Shared memory that no process has attached, and message queues of "
        f"{unread.spaces} IPC namespaces are not captured"
    )
    capture.record_gap("shared memory, of some namespaces", unread.reason, message, requested=False)


def _record_segment(capture: ContainerCapture, segment: SharedSegment) -> None:
    name = f"/SYSV{segment.key:08x}"
    message = (
        f"Segment {segment.number} of System V shared memory, made by process {segment.creator} "
        f"of the container, has no file; {segment.attached} processes have it attached"
    )
    capture.record_gap(
        f"shared memory {segment.number}",
        "NotSupported",
        message,
        requested=False,
        path=name,
        size=segment.size,
    )


def _record_queue(capture: ContainerCapture, queue: Queue) -> None:
    name = shortened(queue.name)
    kind = "POSIX" if queue.posix else "System V"
    message = f"A {kind} message queue with {queue.size} bytes of messages, which are not captured"
    if queue.messages:
        message += f", but for the first {len(queue.messages)} of {queue.total}"
    facts = {"path": f"/{name}"} if queue.posix else {}
    capture.record_gap(
        f"message queue {name}",
        "NotSupported",
        message,
        requested=False,
        size=queue.size,
        **facts,
    )
