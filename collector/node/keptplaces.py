"""Where the entries of a process's folder in /proc lead, for what it keeps there.

::

    held, is_folder = hold(process, "cwd", b"77")

Source: proc_pid_fd(5), proc_pid_fdinfo(5)
"""

from __future__ import annotations

import os
from contextlib import suppress

from collector.files.safe_open import mount_number, opened
from collector.files.statx import statx
from collector.node.deletedfiles import SharedDescriptor
from collector.node.procfs import Process

MAX_STREAMS = 4096
"""Open files of who started a container that are compared with its streams."""


def hold(process: Process, name: str, number: bytes) -> tuple[SharedDescriptor | None, bool]:
    """Open a place on a mount, and say whether it is a directory; None if it is elsewhere now."""
    flags, folder = os.O_PATH | os.O_CLOEXEC, True
    try:
        held = SharedDescriptor(os.open(name, flags | os.O_DIRECTORY, dir_fd=process.folder))
    except NotADirectoryError:
        held, folder = SharedDescriptor(os.open(name, flags, dir_fd=process.folder)), False
    return (held, folder) if b"%d" % mount_number(held.number) == number else (None, folder)


def pipes_of(pid: int) -> set[bytes]:
    """Return which pipes a process has open."""
    found = set[bytes]()
    with suppress(OSError), Process.open(pid) as process:
        for number in process.numbers("fd", MAX_STREAMS):
            with suppress(FileNotFoundError):
                found.add(process.link(f"fd/{number}"))
    return found


def inode_of(link: bytes) -> int:
    """Return the number in `pipe:[4711]`; 0 where there is none."""
    digits = link.partition(b"[")[2].rstrip(b"]")
    return int(digits) if digits.isdigit() else 0


def memory_mount() -> bytes:
    """Return the number of the mount on which the kernel keeps memfds and shared memory."""
    with opened(os.memfd_create("probe", os.MFD_CLOEXEC)) as file:
        return b"%d" % mount_number(file)


def mode_of(process: Process, name: str) -> int:
    """Return the mode of an open file, of which its file system is not asked: it may hang.

    Raises `OSError`.
    """
    with opened(os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=process.folder)) as place:
        return statx(place).mode
