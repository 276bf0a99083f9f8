"""What is mounted in a container: `mounts.json`, and in `mounts.tar.zst` what could be read of it.

File systems in memory, /dev/shm among them, and the few files that a runtime makes for each
container (/etc/hosts) are archived, with the paths that they have in the container. So are volumes
where they were asked for; of those that hold secrets only names and keyed digests are kept, in
`mounts.json`, unless they were asked for by name. Every other mount is listed in `notCaptured`, by
path, type and source: its files are in no archive.

Shape: `{"method": "mountinfo", "mounts": [{"path": "/etc/hosts", "type": "ext4", "state":
"captured", ...}]}`. `state` is `root` for the container's own file system, `kernel` for views of
the kernel that hold no files, `captured`, `partial`, `listed` for the names and digests, or
`missing`. With one that is listed, `digest` and `digestKey` (hexadecimal) say of all how they were
made. The key lies here, and not in the manifest: a manifest travels alone, into tickets and seals,
this file only with the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress

from collector.artifacts import deleted, filesystem
from collector.artifacts.kept import record_unstored
from collector.artifacts.mountopening import LIMITS, MountLimits, open_wanted
from collector.container import ContainerCapture
from collector.documents import readable
from collector.files.indexing import indexed
from collector.files.keptmounts import incomplete, kept_folders, plan_kept
from collector.files.mountarchive import MountLoss, OpenMount
from collector.files.mounted import Survey, measure_all, survey
from collector.files.mountplan import MountOutcome, PlannedMount, State, plan, shown_path
from collector.files.mountstream import MountBudget, MountStream
from collector.files.volumes import VolumeSelection
from collector.files.withheld import ALGORITHM, WithheldList
from collector.node.abandonable import run_abandonable
from collector.node.members import find_members
from collector.node.threads import SeparateThreads
from collector.runtimes.declared import declared
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.ends import LITTLE_TABLE
from forensics_core.bundle.layout import MOUNTS, MOUNTS_INDEX, MOUNTS_LOOKUP
from forensics_core.bundle.writer import shortened
from forensics_core.errors import ContainerGone, DestinationError, ForensicsError, UsageError

NAME = "mounts.tar"
METHOD = "mounts"
_KINDS = frozenset({ArtifactKind.FILESYSTEM, ArtifactKind.VOLUMES})
_LACKING = frozenset({State.MISSING, State.PARTIAL, State.LISTED})


async def collect(capture: ContainerCapture, limits: MountLimits = LIMITS) -> None:
    """Store the mounts, which go with the container's processes, and then its file system."""
    if ArtifactKind.PROCESSES not in capture.wanted:
        await _capture_deleted(capture)
    await _collect(capture, limits)
    await filesystem.collect(capture)


async def collect_volumes(capture: ContainerCapture, limits: MountLimits = LIMITS) -> None:
    """Store the mounts, where `collect` has not done it with the file system."""
    if ArtifactKind.FILESYSTEM not in capture.wanted:
        await _collect(capture, limits)


async def _collect(capture: ContainerCapture, limits: MountLimits) -> None:
    try:
        await _capture_mounts(capture, limits)
    except (DestinationError, UsageError):
        raise
    except Exception as error:  # what a container can provoke must not cost the file system
        told = isinstance(error, ForensicsError | OSError)
        reason = error.reason if isinstance(error, Unavailable) else "Unreadable"
        message = str(error) if told else f"{type(error).__name__}: {error}"
        message = f"What is mounted could not be read: {message}"
        capture.record_gap("mounts", reason, message)
        if ArtifactKind.VOLUMES in capture.wanted:
            capture.record_gap(ArtifactKind.VOLUMES, reason, message)
        record_unstored(capture)


async def _capture_deleted(capture: ContainerCapture) -> None:
    try:
        await deleted.collect(capture)
    except ContainerGone as error:
        capture.record_gap("deleted files", "Gone", str(error), requested=False)


async def _capture_mounts(capture: ContainerCapture, limits: MountLimits) -> None:
    seen, state = await _survey(capture, limits)
    container, remote = capture.container, capture.runtime.machine is None
    selection = VolumeSelection(ArtifactKind.VOLUMES in capture.wanted, frozenset(capture.volumes))
    planned = plan(seen, declared(container), state, remote=remote, selection=selection)
    archived = False
    with ExitStack() as stack:
        planned += await plan_kept(capture.held.kept, planned)
        wanted = [each for each in planned if each.to_read]
        points = frozenset(shown_path(each, seen.mounts[0].space) for each in seen.mounts)
        tops = await open_wanted(stack, wanted, capture.runtime.machine, points, limits)
        await _list_withheld(capture, tops, limits)
        if tops := [(each, top) for each, top in tops if each.state is State.CAPTURED]:
            archived = await _archive(capture, tops, limits)
    document: dict[str, object] = {"method": "mountinfo" if seen.spaces else "runtime"}
    if any(each.files is not None for each in planned):
        document |= {"digest": ALGORITHM, "digestKey": capture.digest_key.hex()}
    document["mounts"] = [each.row() for each in planned]
    kind = min(_KINDS & capture.wanted, default=ArtifactKind.FILESYSTEM)
    await capture.add_json(MOUNTS, kind, document, method=METHOD, little=LITTLE_TABLE)
    _account(capture, seen, planned, limits)
    capture.held.kept = []
    if selection.every and not archived:
        _account_volumes(capture, planned)


async def _list_withheld(
    capture: ContainerCapture, tops: Sequence[tuple[PlannedMount, OpenMount]], limits: MountLimits
) -> None:
    """List what is in volumes whose content stays out of the bundle."""
    listing = WithheldList(key=capture.digest_key)
    for each, top in tops:
        if each.state is not State.LISTED:
            continue
        begin = len(listing.rows)
        try:
            await run_abandonable(limits.seconds, "a volume", _read_all, listing, top)
        except Unavailable as hung:
            listing = WithheldList(key=capture.digest_key, rows=listing.rows[:])
            each.outcome = MountOutcome(
                State.MISSING, hung.reason, f"It could not be listed: {hung}"
            )
        each.files = list(listing.rows[begin:])
        if (loss := listing.losses.get(top.path)) and loss.missing.total:
            message = f"{each.outcome.message}. Not all of it was read: {loss.why}"
            each.outcome = MountOutcome(State.LISTED, each.outcome.reason, message)


def _read_all(listing: WithheldList, top: OpenMount) -> None:
    for _ in listing.blocks([top]):
        pass


async def _archive(
    capture: ContainerCapture, tops: Sequence[tuple[PlannedMount, OpenMount]], limits: MountLimits
) -> bool:
    """Store what is open; return whether a volume is in it."""
    stream = MountStream(MountBudget(*limits.memory), MountBudget(*limits.volumes))
    # What is gone with the container comes first.
    order = sorted((top for _, top in tops), key=lambda top: top.volume)
    volumes = any(top.volume for top in order)
    kind = ArtifactKind.VOLUMES if volumes else ArtifactKind.FILESYSTEM
    stream.folders = kept_folders(top.path for top in order)
    whole = await store(capture, stream, order, kind)
    for each, _ in tops:
        each.outcome = incomplete(each) or each.outcome
        _judge(each, stream, whole)
    return volumes


async def _survey(capture: ContainerCapture, limits: MountLimits) -> tuple[Survey, str]:
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
            limits.seconds, "mounts", _look, first, capture.container.key
        ), now.state
    return Survey(), now.state


def _look(first: int, key: str) -> Survey:
    pids = find_members(first, key)
    apart = SeparateThreads()
    apart.look(pids)
    seen = survey([first, *(pid for pid in pids if pid != first), *apart.threads], key)
    seen.unseen += apart.unseen
    measure_all(seen.mounts)
    return seen


async def store(
    capture: ContainerCapture,
    stream: MountStream,
    tops: Sequence[OpenMount],
    kind: ArtifactKind = ArtifactKind.FILESYSTEM,
) -> bool:
    """Store the archive and its index; return whether there was time for all of it."""
    notes, names = stream.notes, (MOUNTS_INDEX, MOUNTS_LOOKUP)
    async with indexed(capture, notes, names=names, kind=kind) as index:
        in_time = await capture.add(
            NAME,
            kind,
            stream.blocks(tops),
            method=METHOD,
            media_type="application/x-tar",
            notes=notes,
            compression=capture.compression,
            taps=[index],
        )
    if stream.sockets:
        message = f"A tar archive cannot hold sockets: {stream.sockets} in mounts are left out"
        capture.record_gap("sockets in mounts", "NotSupported", message, requested=False)
    return in_time


def _judge(each: PlannedMount, archive: MountStream, whole: bool) -> None:
    """Take back what was promised of a mount that was not read, or not all of it."""
    loss = archive.losses.get(each.path, MountLoss())
    if not whole and each.path not in archive.done:
        each.outcome = MountOutcome(State.PARTIAL, "Deadline", "There was no time for all of it")
    elif loss.missing.total:
        message = f"Not all of it was read: {loss.why}. Missing: {loss.missing}"
        reason = "TooLarge" if loss.size else "Unreadable"
        each.outcome = MountOutcome(State.PARTIAL, "Hung" if loss.hung else reason, message)
        each.size = loss.size or None


def _is_partial(capture: ContainerCapture, each: PlannedMount) -> bool:
    """Whether something that was asked for is missing, and no rule has it so."""
    if each.volume is None or each.outcome.state is State.LISTED:
        return False
    selection = VolumeSelection(ArtifactKind.VOLUMES in capture.wanted, frozenset(capture.volumes))
    return selection.wants(each.path, each.volume)


def _account_names(capture: ContainerCapture, planned: Sequence[PlannedMount]) -> None:
    """Record which of the volumes that were asked for by name there are not."""
    found = [(each.path, each.volume) for each in planned if each.volume]
    for name in dict.fromkeys(capture.volumes):
        if not any(VolumeSelection(named=frozenset({name})).names(*each) for each in found):
            message = "No volume of the container has this name, or lies at this path"
            capture.record_gap(f"volume {shortened(name)}", "NotFound", message)


def _account_volumes(capture: ContainerCapture, planned: Sequence[PlannedMount]) -> None:
    """Say why there is no archive of volumes, though they were asked for."""
    volumes = [each for each in planned if each.volume]
    if not volumes:
        message = "Nothing is mounted in the container that is a volume"
        capture.record_gap(ArtifactKind.VOLUMES, "NoVolume", message, requested=False)
    elif all(each.outcome.state is State.LISTED for each in volumes):
        message = f"Every volume of the container is listed in {MOUNTS}, without its content"
        capture.record_gap(ArtifactKind.VOLUMES, "Withheld", message, requested=False)
    else:
        message = f"No volume of the container was captured; {MOUNTS} says why of each"
        capture.record_gap(ArtifactKind.VOLUMES, "Unreadable", message)


def _account(
    capture: ContainerCapture, seen: Survey, planned: Sequence[PlannedMount], limits: MountLimits
) -> None:
    """List what is not in an archive, one gap a mount."""
    missing = [each for each in planned if each.outcome.state in _LACKING]
    for each in missing[: limits.gaps]:
        capture.record_gap(
            f"mount {shortened(readable(each.path))}",
            each.outcome.reason,
            each.outcome.message,
            requested=each.outcome.asked or _is_partial(capture, each),
            **each.facts(),
        )
    if more := max(len(missing) - limits.gaps, 0) + seen.more:
        message = f"{more} further mounts were not read; {MOUNTS} lists the first of them"
        capture.record_gap("mounts, the rest", "TooMany", message, requested=False)
    _account_names(capture, planned)
    for root in seen.chrooted:
        message = (
            f"Every process of a mount namespace has its root at {readable(root)}: what is mounted "
            "outside of it is not in sight"
        )
        capture.record_gap("mounts, outside of a root", "NotVisible", message, requested=False)
    if seen.unseen:
        message = f"The mount tables of {seen.unseen} processes were not read"
        capture.record_gap("mounts, of some processes", "Unreadable", message, requested=False)
