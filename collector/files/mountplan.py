"""What becomes of each mount of a container: archived, or listed as missing. Pure: no file is read.

::

    for each in plan(survey, declared(container), container.state):
        print(each.path, each.outcome.state)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from collector.documents import portable, readable
from collector.files.mountarchive import COVERED
from collector.files.mounted import SeenMount, Survey, is_memory
from collector.files.mounttable import KERNEL, MEMORY, Mount, is_beneath
from collector.files.volumes import Volume, VolumeSelection, sort_of
from collector.node.deletedfiles import SharedDescriptor
from collector.node.unlisted import KeptReference
from collector.runtimes.declared import RUNTIME_FILES, Declared
from forensics_core.bundle.layout import KEPT_FOLDER
from forensics_core.bundle.writer import shortened

MAX_RUNTIME_FILE = 4 * 1024 * 1024
"""Bytes of a file that a runtime mounts; a container may have filled it up."""
KEPT = KEPT_FOLDER
"""The folder of file systems that only some processes see."""
_DELETED = b"//deleted"
"""Ends the root of a mount that was deleted since: no path has two slashes otherwise."""
_ALIVE = frozenset({"running", "paused", "restarting"})
_FILES = frozenset(path.encode() for path in RUNTIME_FILES)


class State(StrEnum):
    """Where the files of a mount are."""

    ROOT = "root"
    """In the archive of the file system."""
    KERNEL = "kernel"
    """Nowhere: it is a view of the kernel."""
    CAPTURED = "captured"
    """In the archive of mounts."""
    LISTED = "listed"
    """In no archive: `mounts.json` has the names of its files, and keyed digests."""
    PARTIAL = "partial"
    """There, but not all of them."""
    MISSING = "missing"
    """In no archive."""


@dataclass(frozen=True, slots=True)
class MountOutcome:
    """What becomes of a mount, and why."""

    state: State
    reason: str = ""
    """As in the manifest, where it is missing."""
    message: str = ""
    asked: bool = False
    """Whether something that was asked for is missing."""


@dataclass(slots=True)
class PlannedMount:
    """A mount, and what becomes of it."""

    path: bytes
    kind: bytes
    source: bytes
    outcome: MountOutcome
    size: int | None = None
    volume: Volume | None = None
    """What sort of volume it is, where it belongs to `volumes`."""
    files: list[dict[str, object]] | None = None
    """What is in it, where only that is said."""
    same_as: bytes = b""
    """The path in the container at which the same files are in sight, and archived."""
    seen: SeenMount | None = None
    """None where only the runtime told of it, or a process keeps it."""
    kept: KeptReference | None = None
    """What a process keeps, where nothing in sight is mounted."""
    place: SharedDescriptor | None = None
    """That, or what another mount covers, open."""
    device: bytes = b""

    @property
    def state(self) -> State:
        """Where its files are."""
        return self.outcome.state

    @property
    def to_read(self) -> bool:
        """Whether it is to be archived, and is not in another one that is, or to be listed."""
        return self.outcome.state in {State.CAPTURED, State.LISTED} and not self.same_as

    def facts(self) -> dict[str, str | int]:
        """Return what a gap says of it beside its reason."""
        facts: dict[str, str | int] = {
            "path": shortened(readable(self.path)),
            "type": readable(self.kind),
            "source": shortened(readable(self.source)),
        }
        return facts if self.size is None else facts | {"size": self.size}

    def row(self) -> dict[str, object]:
        """Return its row in `mounts.json`."""
        row: dict[str, object] = {
            "path": portable(self.path),
            "type": readable(self.kind),
            "source": portable(self.source),
            "state": str(self.outcome.state),
        }
        if self.outcome.reason:
            row |= {"reason": self.outcome.reason}
        if self.size is not None:
            row |= {"size": self.size}
        if self.same_as:
            row |= {"sameAs": portable(self.same_as)}
        if self.volume:
            row |= {"volume": {"sort": str(self.volume.sort), "name": self.volume.shown}}
        if self.files is not None:
            row |= {"files": self.files}
        if self.kept:
            row |= {"device": readable(self.device), "pid": self.kept.pid}
        if self.seen:
            mount = self.seen.mount
            row |= {
                "device": readable(mount.device),
                "root": portable(mount.root),
                "options": readable(mount.options),
                "pid": self.seen.pid,
                "namespace": readable(self.seen.space),
            }
        return row


def plan(
    seen: Survey,
    told: Sequence[Declared],
    state: str,
    *,
    remote: bool = False,
    selection: VolumeSelection | None = None,
) -> list[PlannedMount]:
    """Return what becomes of each mount; without processes in reach, by what the runtime says.

    `selection` says which volumes are to be captured: none, where there are none.
    """
    selection = selection or VolumeSelection()
    if not seen.spaces:
        return [_ended(row, state, remote, selection) for row in told]
    return list(_MountPlanner(seen, told, selection).all())


def _ended(row: Declared, state: str, remote: bool, selection: VolumeSelection) -> PlannedMount:
    path, kind = (each.encode(errors="surrogateescape") for each in (row.path, row.kind))
    volume = sort_of(path, kind, b"", row) if row.is_volume else None
    outcome = _outcome_of_ended(row, state, remote)
    # A volume outlives its container; it lies where the runtime was told to take it from.
    there = state not in _ALIVE and not remote and row.source.startswith("/")
    if there and volume and selection.wants(path, volume):
        outcome = _wanted(path, volume, selection)
    source = row.source.encode(errors="surrogateescape")
    return PlannedMount(path, kind, source, outcome, volume=volume)


def _wanted(path: bytes, volume: Volume, selection: VolumeSelection) -> MountOutcome:
    if not volume.withheld or selection.names(path, volume):
        return MountOutcome(State.CAPTURED)
    message = (
        f"It is a volume of the sort {volume.sort}: names and keyed digests of its files are in "
        "mounts.json, their content is captured where it is asked for by name"
    )
    return MountOutcome(State.LISTED, "Withheld", message)


def _outcome_of_ended(row: Declared, state: str, remote: bool) -> MountOutcome:
    if row.kind.encode(errors="surrogateescape") in KERNEL:
        return MountOutcome(State.KERNEL)
    if remote:
        return MountOutcome(State.MISSING, "Remote", "It is on another machine")
    if row.path in RUNTIME_FILES and row.source.startswith("/"):
        return MountOutcome(State.CAPTURED)
    if state in _ALIVE:
        return MountOutcome(State.MISSING, "NotVisible", "No process of the container is in reach")
    if row.kind == "tmpfs":
        return MountOutcome(State.MISSING, "Gone", f"The container is {state}: its memory is gone")
    message = f"The container is {state}, and this was mounted in it from outside"
    return MountOutcome(State.MISSING, "NotSupported", message)


def shown_path(seen: SeenMount, main: bytes) -> bytes:
    """Return where a mount is shown: those of other namespaces than `main` by their process."""
    return seen.path if seen.space == main else KEPT + b"/%d/root" % seen.pid + seen.path


def _turn(seen: SeenMount) -> int:
    if seen.path == b"/":
        return 0
    return 1 if is_memory(seen) else 2


class _MountPlanner:
    """The rules, for the mounts of one container."""

    def __init__(self, seen: Survey, told: Sequence[Declared], selection: VolumeSelection) -> None:
        self._selection = selection
        self._told = {row.path.encode(errors="surrogateescape"): row for row in told}
        self._mounts = seen.mounts
        self._main = seen.mounts[0].space if seen.mounts else b""
        volumes = {row.path.encode(errors="surrogateescape") for row in told if row.is_volume}
        self._volumes = volumes
        self._shared = {
            one.mount.device
            for one in seen.mounts
            if one.path in volumes and one.mount.kind in MEMORY
        }
        """File systems in memory that belong to volumes: a Secret may be mounted twice."""
        self._root: Mount | None = None
        self._whole: dict[bytes, PlannedMount] = {}
        """What is archived whole, by device."""
        self._beneath: set[tuple[bytes, int]] = set()
        """What is covered, by its path, and the how manieth there."""
        self._parts: list[PlannedMount] = []
        """Volumes that are archived or listed, which may be parts of file systems."""

    def all(self) -> Iterator[PlannedMount]:
        # The root, then what is archived whole: of a part of one, it can be said then where it is.
        order = sorted(
            range(len(self._mounts)),
            key=lambda number: _turn(self._mounts[number]),
        )
        planned: dict[int, PlannedMount] = {}
        for number in order:
            planned[number] = self._one(self._mounts[number])
        yield from (planned[number] for number in range(len(self._mounts)))

    def _one(self, seen: SeenMount) -> PlannedMount:
        mount = seen.mount
        told, volume = self._told.get(seen.path), None
        if seen.path in self._volumes or mount.device in self._shared:
            volume = sort_of(seen.path, mount.kind, mount.root, told)
        planned = PlannedMount(
            seen.path,
            mount.kind,
            mount.source if mount.root == b"/" else mount.source + b"[" + mount.root + b"]",
            MountOutcome(State.MISSING),
            seen.size,
            volume,
            seen=seen,
        )
        planned.outcome = self._outcome(seen, planned)
        if planned.state is State.ROOT:
            planned.size = None  # of the machine's whole disk, as a rule
        return planned

    def _outcome(self, seen: SeenMount, planned: PlannedMount) -> MountOutcome:
        mount = seen.mount
        if seen.names:
            message = f"There are {seen.names} POSIX message queues, whose content is not captured"
            return MountOutcome(State.MISSING, "NotSupported", message)
        if mount.kind in KERNEL:
            return MountOutcome(State.KERNEL)
        if seen.space != self._main:
            return self._elsewhere(seen, planned)
        if mount.point == b"/" and seen.path == b"/":
            return self._at_root(mount)
        volume = planned.volume
        if seen.obstacle and not (volume and self._selection.wants(seen.path, volume)):
            return MountOutcome(
                State.MISSING, "Unreadable", f"It could not be read: {seen.obstacle}"
            )
        if seen.is_file and seen.path in _FILES:
            return self._runtime_file(seen)
        if volume:
            return self._volume(seen, planned, volume)
        return self._in_memory(seen, planned)

    def _elsewhere(self, seen: SeenMount, planned: PlannedMount) -> MountOutcome:
        """Judge what is mounted for some processes only: of volumes nothing comes in that way."""
        if is_memory(seen) and seen.mount.device not in self._shared:
            planned.path = shown_path(seen, self._main)
            return self._in_memory(seen, planned)
        message = f"Only process {seen.pid} and those of its mount namespace have it"
        return MountOutcome(State.MISSING, "OtherNamespace", message)

    def _volume(self, seen: SeenMount, planned: PlannedMount, volume: Volume) -> MountOutcome:
        if not self._selection.wants(seen.path, volume):
            message = f"It is a volume of the sort {volume.sort}, and these were not asked for"
            return MountOutcome(State.MISSING, "NotRequested", message)
        outcome = _wanted(seen.path, volume, self._selection)
        for other in self._parts:
            whole = other.seen.mount if other.seen and other.state is outcome.state else None
            root = seen.mount.root
            if whole and whole.device == seen.mount.device and is_beneath(root, whole.root):
                planned.same_as = other.path + root[len(whole.root.rstrip(b"/")) :]
                return outcome
        self._parts.append(planned)
        return outcome

    def _in_memory(self, seen: SeenMount, planned: PlannedMount) -> MountOutcome:
        device, root = seen.mount.device, seen.mount.root
        if is_memory(seen) and device not in self._whole:
            if seen.covered:
                planned.path, planned.place = self._covered(planned.path), seen.covered
            self._whole[device] = planned
            return MountOutcome(State.CAPTURED)
        if device in self._whole:
            planned.same_as = self._whole[device].path.rstrip(b"/") + root.rstrip(b"/")
            return MountOutcome(State.CAPTURED)
        if self._root and self._root.device == device and self._root.root == b"/":
            if root.endswith(_DELETED):
                # What is mounted is all that is left of it: the file system's archive lacks it.
                return MountOutcome(State.CAPTURED)
            planned.same_as = root
            message = f"It is {readable(root)} of the container's own file system, mounted twice"
            return MountOutcome(State.MISSING, "MountedTwice", message)
        if self._selection.every:
            planned.volume = sort_of(seen.path, seen.mount.kind, root, None)
            return self._volume(seen, planned, planned.volume)
        message = "It is mounted from outside of the container, and was not asked for"
        return MountOutcome(State.MISSING, "NotRequested", message)

    def _covered(self, path: bytes) -> bytes:
        """Return what to call what lies beneath a mount; several may lie at one point."""
        number = next(count for count in range(1, 99) if (path, count) not in self._beneath)
        self._beneath.add((path, number))
        return path + (COVERED if number == 1 else COVERED[:-1] + b" %d)" % number)

    def _at_root(self, mount: Mount) -> MountOutcome:
        if self._root is None:
            self._root = mount
            return MountOutcome(State.ROOT)
        message = (
            "It lies over the container's own file system, and hides it from processes that enter"
        )
        return MountOutcome(State.MISSING, "Stacked", message)

    def _runtime_file(self, seen: SeenMount) -> MountOutcome:
        if (seen.size or 0) <= MAX_RUNTIME_FILE:
            return MountOutcome(State.CAPTURED)
        message = f"It is longer than {MAX_RUNTIME_FILE} bytes"
        return MountOutcome(State.MISSING, "TooLarge", message, asked=True)
