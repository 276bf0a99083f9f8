"""Directories of a container that are still to be compared with its image, and names in them."""

from __future__ import annotations

from dataclasses import dataclass, field

from collector.documents import readable
from collector.files.entries import EntryRow
from collector.files.lower_layers import LayerPath, LowerDirectory, LowerEntry, join

MAX_PATH = 16 * 1024
"""Bytes of the path of a directory that is looked into."""
MAX_WAITING = 64 * 1024 * 1024
"""Bytes of memory for directories that wait to be looked into."""


@dataclass(frozen=True, slots=True)
class PendingDirectory:
    """A directory, and what it is compared with."""

    path: bytes
    image: tuple[LayerPath, ...] = ()
    """The same directory in the image, or the one that it was renamed from."""
    shows: bool = True
    """Whether that shows through where the upper layer has nothing."""
    origin: bytes | None = None
    """Where `image` lies in the image, if it is not at `path`."""
    covered: tuple[LayerPath, ...] = ()
    """What the image has at `path` itself, where a renamed directory took its place."""
    written: bool = True
    """Whether the upper layer has the directory at all."""

    @property
    def weight(self) -> int:
        """The bytes of memory that it takes, roughly."""
        pieces = (*self.image, *self.covered)
        return 500 + len(self.path) + sum(100 + len(path) for _, path in pieces)

    def origin_of(self, name: bytes) -> bytes | None:
        """Return where a member was, if it was not at its path."""
        return None if self.origin is None else join(self.origin, name)

    def path_in_image(self, name: bytes) -> bytes:
        """Return where a member of that name lies in the image."""
        return join(self.path if self.origin is None else self.origin, name)


@dataclass(slots=True)
class WalkQueue:
    """The directories that wait, the next one last; what they take is limited."""

    max_path: int = MAX_PATH
    max_weight: int = MAX_WAITING
    waiting: list[PendingDirectory] = field(default_factory=list)
    _weight: int = 0

    def push(self, waiting: list[PendingDirectory]) -> None:
        """Let directories wait, the first of them to come next."""
        self._weight += sum(pending.weight for pending in waiting)
        self.waiting.extend(reversed(waiting))

    def pop(self) -> PendingDirectory:
        """Return the next one."""
        pending = self.waiting.pop()
        self._weight -= pending.weight
        return pending

    def has_room(self, pending: PendingDirectory, others: int) -> bool:
        """Return whether `pending` may wait too, beside `others` that are about to."""
        weight = self._weight + (others + 1) * pending.weight
        return len(pending.path) <= self.max_path and weight <= self.max_weight


@dataclass(frozen=True, slots=True)
class UpperEntry:
    """A name in the upper layer's directory, open."""

    pending: PendingDirectory
    name: bytes
    place: int
    image: LowerDirectory
    """The directory that `pending` is compared with."""
    was: LowerEntry | None
    """What that has under the name."""
    covered: LowerEntry | None
    """What the image has at the path itself, under a renamed directory."""

    @property
    def path(self) -> bytes:
        """Where it is in the container."""
        return join(self.pending.path, self.name)

    @property
    def before(self) -> LowerEntry | None:
        """What it is compared with."""
        return self.was or self.covered

    @property
    def origin(self) -> bytes | None:
        """Where that was, if not at `path`."""
        return self.pending.origin_of(self.name) if self.was else None

    @property
    def own(self) -> tuple[LayerPath, ...]:
        """The directory that the image has at `path`."""
        node = self.was if self.pending.origin is None else self.covered
        return node.folder if node else ()

    def inside(self) -> PendingDirectory:
        """Return the entry of a directory that was not renamed itself."""
        covered = self.covered.folder if self.covered else ()
        if self.was is None:
            return PendingDirectory(self.path, covered, shows=False)
        return PendingDirectory(
            self.path, self.was.folder, self.pending.shows, self.origin, covered
        )


def note_origin(row: EntryRow, origin: bytes | None) -> EntryRow:
    """Say in a row that its path was another one in the image."""
    if origin is not None:
        row["notes"].append("moved")
        row["from"] = readable(b"/" + origin)
    return row
