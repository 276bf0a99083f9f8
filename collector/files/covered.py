"""A mount that another one covers, opened without touching what covers it.

A thread enters the mount namespace, takes a copy of it for itself, cuts that off from all others,
and unmounts there what lies on top. Nobody else sees any of it, and the copy ends with the thread::

    place = open_covered(pid, mount)

Source: mount_namespaces(7), umount(2)
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from collector.files.mounts import call, in_thread
from collector.files.mounttable import Mount, is_beneath, parse_table
from collector.files.safe_open import PLACE, open_in_root, opened
from collector.node.procfs import Process

MAX_COVERS = 64
"""Mounts that may lie on top of one."""
_CLONE_FS, _CLONE_NEWNS = 0x00000200, 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 0x2, 0x8
_BASE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def open_covered(pid: int, mount: Mount) -> int:
    """Open `mount`, as process `pid` has it in its table. Raises `OSError`.

    Also where the process has its root elsewhere, and where the kernel has the mounts locked: those
    that came with a user namespace.
    """
    with Process.open(pid) as process:
        if process.link("root") != b"/":
            raise FileNotFoundError("another mount covers it, and the process has another root")
        space = os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
    with opened(space):
        return in_thread(lambda: _uncover(space, mount))


def _uncover(space: int, mount: Mount) -> int:
    with opened(os.open("/proc/thread-self", _BASE)) as own:
        call("unshare", _CLONE_FS)
        call("setns", space, _CLONE_NEWNS)
        call("unshare", _CLONE_NEWNS)
        # Before anything is unmounted: else it would be unmounted in the container, too.
        call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        for _ in range(MAX_COVERS):
            table = list(parse_table(_read(own, "mountinfo")))
            found = _try(own, table, mount)
            if found is not None:
                return found
            call("umount2", _cover(table, mount).point, _MNT_DETACH | _UMOUNT_NOFOLLOW)
    raise FileNotFoundError(f"more than {MAX_COVERS} mounts cover it")


def _try(own: int, table: Sequence[Mount], wanted: Mount) -> int | None:
    """Open what lies at the mount's point now, if it is that mount."""
    with opened(os.open("/", _BASE)) as root:
        try:
            place = open_in_root(root, wanted.point, PLACE)
        except (FileNotFoundError, NotADirectoryError):
            return None
    lines = _read(own, f"fdinfo/{place}").split(b"\n")
    number = next(int(line.split()[1]) for line in lines if line.startswith(b"mnt_id:"))
    if any(each.number == number and _is_copy(each, wanted) for each in table):
        return place
    os.close(place)
    return None


def _is_copy(mount: Mount, wanted: Mount) -> bool:
    what = mount.device, mount.root, mount.point
    return what == (wanted.device, wanted.root, wanted.point)


def _cover(table: Sequence[Mount], wanted: Mount) -> Mount:
    """Return what was mounted last on the way to it. Raises `FileNotFoundError`."""
    for mount in reversed(table):
        on_the_way = mount.point != b"/" and is_beneath(wanted.point, mount.point)
        if on_the_way and not _is_copy(mount, wanted):
            return mount
    raise FileNotFoundError("another mount covers it, or it was moved")


def _read(folder: int, name: str) -> bytes:
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        return file.read()
