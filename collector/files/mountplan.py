"""What becomes of each mount of a container: archived, or listed as missing. Pure: no file is read.

::

    for each in plan(survey, declared(container), container.state):
        print(each.path, each.fate.state)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from collector.documents import portable, readable
from collector.files.mounted import Seen, Survey, is_memory
from collector.files.mounttable import KERNEL, MEMORY, Mount
from collector.runtimes.declared import RUNTIME_FILES, Declared
from forensics_core.bundle.writer import shortened

MAX_RUNTIME_FILE = 4 * 1024 * 1024
"""Bytes of a file that a runtime mounts; a container may have filled it up."""
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
    PARTIAL = "partial"
    """There, but not all of them."""
    MISSING = "missing"
    """In no archive."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a mount, and why."""

    state: State
    reason: str = ""
    """As in the manifest, where it is missing."""
    message: str = ""
    asked: bool = False
    """Whether something that was asked for is missing."""


@dataclass(slots=True)
class Planned:
    """A mount, and what becomes of it."""

    path: bytes
    kind: bytes
    source: bytes
    fate: Fate
    size: int | None = None
    volume: bool = False
    """Whether it belongs to `volumes`."""
    same_as: bytes = b""
    """The path in the container at which the same files are in sight, and archived."""
    seen: Seen | None = None
    """None where only the runtime told of it."""

    @property
    def state(self) -> State:
        """Where its files are."""
        return self.fate.state

    @property
    def to_read(self) -> bool:
        """Whether it is to be archived, and is not in another one that is."""
        return self.fate.state is State.CAPTURED and not self.same_as

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
            "state": str(self.fate.state),
        }
        if self.fate.reason:
            row |= {"reason": self.fate.reason}
        if self.size is not None:
            row |= {"size": self.size}
        if self.same_as:
            row |= {"sameAs": portable(self.same_as)}
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
    seen: Survey, told: Sequence[Declared], state: str, *, remote: bool = False
) -> list[Planned]:
    """Return what becomes of each mount; without processes in reach, by what the runtime says."""
    if not seen.spaces:
        return [_ended(row, state, remote) for row in told]
    return list(_Plan(seen, told).all())


def _ended(row: Declared, state: str, remote: bool) -> Planned:
    return Planned(
        row.path.encode(errors="surrogateescape"),
        row.kind.encode(errors="surrogateescape"),
        row.source.encode(errors="surrogateescape"),
        _fate_of_ended(row, state, remote),
        volume=row.is_volume,
    )


def _fate_of_ended(row: Declared, state: str, remote: bool) -> Fate:
    if row.kind.encode(errors="surrogateescape") in KERNEL:
        return Fate(State.KERNEL)
    if remote:
        return Fate(State.MISSING, "Remote", "It is on another machine")
    if row.path in RUNTIME_FILES and row.source.startswith("/"):
        return Fate(State.CAPTURED)
    if state in _ALIVE:
        return Fate(State.MISSING, "NotVisible", "No process of the container is in reach")
    if row.kind == "tmpfs":
        return Fate(State.MISSING, "Gone", f"The container is {state}: its memory is gone")
    message = f"The container is {state}, and this was mounted in it from outside"
    return Fate(State.MISSING, "NotSupported", message)


def _turn(seen: Seen) -> int:
    if seen.path == b"/":
        return 0
    return 1 if is_memory(seen) else 2


class _Plan:
    """The rules, for the mounts of one container."""

    def __init__(self, seen: Survey, told: Sequence[Declared]) -> None:
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
        self._whole: dict[bytes, Planned] = {}
        """What is archived whole, by device."""

    def all(self) -> Iterator[Planned]:
        # The root, then what is archived whole: of a part of one, it can be said then where it is.
        order = sorted(
            range(len(self._mounts)),
            key=lambda number: _turn(self._mounts[number]),
        )
        planned: dict[int, Planned] = {}
        for number in order:
            planned[number] = self._one(self._mounts[number])
        yield from (planned[number] for number in range(len(self._mounts)))

    def _one(self, seen: Seen) -> Planned:
        mount = seen.mount
        volume = seen.path in self._volumes or mount.device in self._shared
        planned = Planned(
            seen.path,
            mount.kind,
            mount.source if mount.root == b"/" else mount.source + b"[" + mount.root + b"]",
            Fate(State.MISSING),
            seen.size,
            volume,
            seen=seen,
        )
        planned.fate = self._fate(seen, planned)
        if planned.state is State.ROOT:
            planned.size = None  # of the machine's whole disk, as a rule
        return planned

    def _fate(self, seen: Seen, planned: Planned) -> Fate:
        mount = seen.mount
        if seen.names:
            message = f"There are {seen.names} POSIX message queues, whose content is not captured"
            return Fate(State.MISSING, "NotSupported", message)
        if mount.kind in KERNEL:
            return Fate(State.KERNEL)
        if seen.space != self._main:
            message = f"Only process {seen.pid} and those of its mount namespace have it"
            return Fate(State.MISSING, "OtherNamespace", message)
        if mount.point == b"/" and seen.path == b"/":
            return self._at_root(mount)
        if seen.obstacle:
            return Fate(State.MISSING, "Unreadable", f"It could not be read: {seen.obstacle}")
        if seen.is_file and seen.path in _FILES:
            return self._runtime_file(seen)
        if planned.volume:
            message = "It is a volume, and what is in volumes is not captured"
            return Fate(State.MISSING, "NotSupported", message)
        return self._in_memory(seen, planned)

    def _in_memory(self, seen: Seen, planned: Planned) -> Fate:
        device, root = seen.mount.device, seen.mount.root
        if is_memory(seen) and device not in self._whole:
            self._whole[device] = planned
            return Fate(State.CAPTURED)
        if device in self._whole:
            planned.same_as = self._whole[device].path.rstrip(b"/") + root.rstrip(b"/")
            return Fate(State.CAPTURED)
        if self._root and self._root.device == device and self._root.root == b"/":
            planned.same_as = root
            message = f"It is {readable(root)} of the container's own file system, mounted twice"
            return Fate(State.MISSING, "MountedTwice", message)
        message = "It is mounted from outside of the container, and such mounts are not captured"
        return Fate(State.MISSING, "NotSupported", message)

    def _at_root(self, mount: Mount) -> Fate:
        if self._root is None:
            self._root = mount
            return Fate(State.ROOT)
        message = (
            "It lies over the container's own file system, and hides it from processes that enter"
        )
        return Fate(State.MISSING, "Stacked", message)

    def _runtime_file(self, seen: Seen) -> Fate:
        if (seen.size or 0) <= MAX_RUNTIME_FILE:
            return Fate(State.CAPTURED)
        message = f"It is longer than {MAX_RUNTIME_FILE} bytes"
        return Fate(State.MISSING, "TooLarge", message, asked=True)
