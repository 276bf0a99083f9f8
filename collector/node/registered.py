"""Files that are registered with io_uring, and that nobody needs to have open besides.

The kernel's memory tells which inodes they are; by its handle, a file that has no name any more is
opened all the same. On file systems of the ext family, whose handles are known here, and beneath an
overlay on one::

    files = registered_files(pid, "fd/5", host)

Source: io_uring_register(2), open_by_handle_at(2), include/linux/exportfs.h
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress

from collector.files.mounttable import parse_table
from collector.files.safe_open import opened
from collector.node.borrowed import Sent
from collector.node.deletedfiles import SharedDescriptor
from collector.node.host import Host
from collector.node.kernel_objects import Inode, KernelObjects
from collector.node.procfs import Process

MAX_TEXT = 256 * 1024
_FILE = re.compile(rb"^ *(\d+): (.+)$", re.MULTILINE)
_OCTAL = re.compile(rb"\\([0-7]{3})")
_BY_NUMBER_AND_GENERATION = 1
"""The type of a handle."""
_EXT = frozenset({b"ext2", b"ext3", b"ext4"})
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK


def registered_files(pid: int, where: str, host: Host) -> tuple[Sent, ...]:
    """Return the files of the ring that a process has open there, held, as far as can be had.

    It blocks. Raises `OSError` where the kernel's memory is not to be read.
    """
    with Process.open(pid) as process:
        inode = os.stat(where, dir_fd=process.folder).st_ino
        told = process.read(where.replace("fd/", "fdinfo/"), MAX_TEXT)
    names = {int(number): name for number, name in _FILE.findall(told.partition(b"UserFiles:")[2])}
    with KernelObjects.opened() as kernel:
        ring = kernel.registered(pid, int(where.rpartition("/")[2]), inode)
        return tuple(
            Sent(_OCTAL.sub(lambda each: bytes((int(each[1], 8),)), names[number]), file)
            for number, found in ring
            if number in names and (file := _open(found, host))
        )


def _open(inode: Inode, host: Host) -> SharedDescriptor | None:
    """Open a file by its handle, without a right to read it; None where that cannot be."""
    if inode.kind not in _EXT:
        return None
    handle = struct.pack("=IiII", 8, _BY_NUMBER_AND_GENERATION, inode.number, inode.generation)
    buffer = ctypes.create_string_buffer(handle, len(handle))
    call = ctypes.CDLL(None, use_errno=True).open_by_handle_at
    for folder in _folders(inode.device, host):
        with opened(folder):
            file = call(folder, buffer, os.O_PATH | os.O_CLOEXEC)
        if file >= 0:
            held, status = SharedDescriptor(file), os.fstat(file)
            if (status.st_dev, status.st_ino) == (inode.device, inode.number):
                return held
    return None


def _folders(device: int, host: Host) -> Iterator[int]:
    """Open directories of the machine that lie on a device: the first one mostly does."""
    number = b"%d:%d" % (os.major(device), os.minor(device))
    for mount in parse_table(host.mountinfo()):
        if mount.device == number:
            with suppress(OSError):
                yield host.open(mount.point, _FOLDER)
