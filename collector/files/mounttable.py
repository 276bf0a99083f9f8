"""What is mounted in a process's mount namespace, as the kernel tells it.

::

    for mount in parse_table(process.read("mountinfo")):
        print(mount.point, mount.kind)

Source: proc_pid_mountinfo(5)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from collector.files.overlay import unescape

KERNEL = frozenset(
    b"proc sysfs cgroup cgroup2 devpts mqueue debugfs tracefs securityfs configfs fusectl pstore "
    b"efivarfs binfmt_misc selinuxfs nsfs".split()
)
"""Views of the kernel: no files that anybody could have written lie in them."""
QUEUES = b"mqueue"
"""POSIX message queues: of the kernel's views the one in which a container keeps something."""
MEMORY = frozenset({b"tmpfs", b"ramfs"})
"""File systems that are gone with their last mount, and never hang."""
LOCAL = frozenset(b"ext2 ext3 ext4 xfs btrfs f2fs zfs overlay vfat squashfs erofs".split()) | MEMORY
"""Types whose files answer at once. All others may be a network's, or a user's own program (FUSE),
and may keep whoever touches them for ever."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table."""

    number: int
    """The kernel's number of the mount: of one at a time, on the whole machine."""
    device: bytes
    """Major and minor number: `0:47`."""
    root: bytes
    """What of the file system is mounted: `/` is all of it."""
    point: bytes
    """Where, beneath the process's root."""
    kind: bytes
    """The file system's type."""
    source: bytes
    options: bytes
    """The mount's own, then those of the file system."""

    @property
    def answers(self) -> bool:
        """Whether it can be looked at without the risk of never coming back."""
        return self.kind in LOCAL or self.kind in KERNEL


def parse_table(table: bytes) -> Iterator[Mount]:
    """Yield the mounts of a mountinfo table in their order; a line that was cut is left out."""
    for line in table.split(b"\n"):
        # Optional fields, none or several, are in front of the hyphen: both sides are counted
        # apart.
        before, _, after = line.partition(b" - ")
        fields, more = before.split(b" "), after.split(b" ")
        if len(fields) > 5 and len(more) > 2 and fields[0].isdigit():
            yield Mount(
                int(fields[0]),
                fields[2],
                unescape(fields[3]),
                unescape(fields[4]),
                more[0],
                unescape(more[1]),
                fields[5] + b"," + more[2],
            )


def is_beneath(path: bytes, folder: bytes) -> bool:
    """Return whether `path` is `folder`, or lies in it."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def holder(path: bytes, mounts: Iterable[Mount]) -> Mount | None:
    """Return the mount that a path lies on: the deepest, and of those at one point the last."""
    found: Mount | None = None
    for mount in mounts:
        if is_beneath(path, mount.point) and (
            found is None or len(mount.point) >= len(found.point)
        ):
            found = mount
    return found
