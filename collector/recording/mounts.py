"""The mounts of a container that fanotify watches, while they come and go.

A mount gets the number of one that is gone: only the kernel's word that the table has changed says
that a number which is known may be another mount's by now.

Source: proc_pid_mountinfo(5), fanotify_mark(2)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from stat import S_ISDIR, S_ISREG

from collector.files.mounttable import KERNEL, Mount, parse_table
from collector.files.safe_open import mount_number, open_in_root, opened
from collector.node.procfs import Process
from collector.recording.fanotify import Fanotify

MAX_MOUNTS = 1024
"""Mounts of one container that are watched."""
MAX_DEVICES = 256
"""Devices in its /dev of which nothing is told."""
_TABLE = 8 * 1024 * 1024
_READ = os.O_RDONLY | os.O_CLOEXEC
_REST = b"(mounts past those that the kernel's table was read to)"


@dataclass(slots=True)
class WatchedMounts:
    """The mounts that a process sees; it blocks."""

    unmarked: dict[bytes, str] = field(default_factory=dict)
    """Mounts that are not watched, and why."""
    listed: list[Mount] = field(default_factory=list)
    """All of them, as of the last look."""
    is_stale: bool = False
    """Whether the table has changed since it was read."""
    table: int = -1
    """The table, open: `POLLPRI` is there when it has changed."""
    _within: bytes = b""
    """The mount namespace that this is the table of."""
    _marked: set[int] = field(default_factory=set)

    def mark(self, files: Fanotify, first: Process) -> None:
        """Watch what `first` sees and is not yet watched.

        Raises `OSError` where it has ended, or nothing at all can be watched.
        """
        self._open_table(first)
        if self.is_stale:
            self._marked.clear()
            self.is_stale = False
        self.listed = list(parse_table(first.read("mountinfo", _TABLE)))
        if "mountinfo" in first.cut:
            self.unmarked[_REST] = "there are too many"
        root = os.open("root", os.O_PATH | os.O_CLOEXEC, dir_fd=first.folder)
        with opened(root):
            for mount in self.listed:
                if mount.number not in self._marked:
                    self._mark(files, mount, root)
        self._marked &= {mount.number for mount in self.listed}

    def note_change(self, ready: Iterable[int]) -> None:
        """Take note that the table has changed, if it is among what is `ready`."""
        self.is_stale |= self.table in ready

    def close(self) -> None:
        """Give the table back."""
        if self.table >= 0:
            os.close(self.table)
            self.table = -1

    def _open_table(self, process: Process) -> None:
        """Have the table open of the namespace that the first process is in by now."""
        if (within := process.link("ns/mnt")) == self._within:
            return
        table = os.open("mountinfo", _READ, dir_fd=process.folder)
        if self.table < 0:
            self.table = table
        else:  # under its number, which is what is waited for
            with opened(table):
                os.dup2(table, self.table, inheritable=False)
        self._within, self.is_stale = within, True

    def _mark(self, files: Fanotify, mount: Mount, root: int) -> None:
        if mount.kind in KERNEL:
            return
        if not mount.answers or len(self._marked) >= MAX_MOUNTS:
            self.unmarked[mount.point] = (
                "it may hang" if not mount.answers else "there are too many"
            )
            return
        try:
            with opened(open_in_root(root, mount.point)) as place:
                mode = os.fstat(place).st_mode
                if mount_number(place) != mount.number:
                    # Nobody comes to it by its path; but who has it open may write there.
                    self.unmarked[mount.point + b" (covered)"] = "another one covers it"
                    return
                if not (S_ISDIR(mode) or S_ISREG(mode)):
                    return
                if mount.point == b"/dev":
                    self._ignore_devices(files, place)
                self._mark_place(files, mount, place)
        except OSError as error:
            self.unmarked[mount.point] = str(error)

    def _mark_place(self, files: Fanotify, mount: Mount, place: int) -> None:
        # An overlay is the container's alone, in whichever mount namespace. Of other file systems
        # the node or others may use parts that the container does not see.
        whole = mount.kind == b"overlay" and mount.point == b"/"
        files.mark(place, whole=whole)
        self._marked.add(mount.number)
        self.unmarked.pop(mount.point, None)

    def _ignore_devices(self, files: Fanotify, place: int) -> None:
        """Leave devices alone: each event opens what it is about, and /dev/null is busy."""
        with suppress(OSError), os.scandir(f"/proc/self/fd/{place}") as entries:
            for _, entry in zip(range(MAX_DEVICES), entries, strict=False):
                if not entry.is_file(follow_symlinks=False) and not entry.is_symlink():
                    with suppress(OSError):
                        files.ignore(place, os.fsencode(entry.name))
