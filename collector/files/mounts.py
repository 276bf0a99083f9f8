"""Private views of a container's file system, as directory descriptors.

A view is made by a thread in a mount namespace of its own that ends with the thread: the
descriptor keeps the mount, nobody else ever sees it, and nothing is left behind by a crash.

No view moves access times, not even those of links, which are read without being opened.

Source: mount(2), mount_setattr(2), setns(2), open_tree(2), Documentation/filesystems/overlayfs.rst
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

from collector.files.overlay import OverlayDirectories, mount_points, parse_mountinfo
from collector.files.safe_open import opened
from collector.node.host import Host
from collector.node.procfs import Process

_CLONE_FS = 0x00000200
_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOATIME = 0x1, 0x2, 0x4, 0x400
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_OPEN_TREE, _MOUNT_SETATTR = 428, 442
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 0x1, os.O_CLOEXEC
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_NO_ACCESS_TIMES = struct.pack("=4Q", 0x10, 0x70, 0, 0)
"""What mount_setattr takes: `MOUNT_ATTR_NOATIME` instead of any other of its kind."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_mounted(path: Path, host: Host | None = None) -> int:
    """Open `path` of the runtime's machine if a file system is mounted there. Raises `OSError`.

    It is a private view of it where the kernel grants us one: a descriptor of the runtime's own
    mount would keep the runtime from unmounting it, and so from removing the container.
    """
    host = host or Host()
    if os.fsencode(path) not in mount_points(host.mountinfo()):
        raise FileNotFoundError(f"nothing is mounted on {path}")
    return open_view(os.fsencode(path), host, _DIRECTORY)


def open_view(path: bytes, host: Host, flags: int = _DIRECTORY & ~os.O_NOFOLLOW) -> int:
    """Open a directory of the runtime's machine, if need be without a private view of it.

    Raises `OSError`.
    """
    with suppress(PermissionError):
        return in_thread(lambda: _clone_folder(path, host, flags))
    return host.open(path, flags)


def _clone_folder(path: bytes, host: Host, how: int) -> int:
    if host.foreign:  # the kernel clones only what is of the thread's own mount namespace
        with opened(os.open(host.base / "ns/mnt", os.O_RDONLY | os.O_CLOEXEC)) as space:
            # A thread that shares root and working directory with others may enter no mount
            # namespace.
            call("unshare", _CLONE_FS)
            call("setns", space, _CLONE_NEWNS)
        host = Host(Path("/proc/thread-self"))
    with (
        opened(host.open(path, how)) as place,
        opened(_clone(place, b"", _AT_EMPTY_PATH)) as view,
    ):
        return os.open(".", _DIRECTORY, dir_fd=view)


def _clone(place: int, path: bytes, flags: int = 0) -> int:
    """Return a private mount of a directory, by which no access time is moved.

    Where the kernel has locked that (a user namespace), or is older than 5.12, it is as it was.
    """
    flags |= _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    view = call("syscall", _OPEN_TREE, place, path, flags)
    with suppress(OSError):
        how = _NO_ACCESS_TIMES, len(_NO_ACCESS_TIMES)
        call("syscall", _MOUNT_SETATTR, view, b"", _AT_EMPTY_PATH, *how)
    return view


def mounted_layers(path: Path, host: Host) -> OverlayDirectories | None:
    """Return the layers of the overlay that the runtime's machine has mounted on `path`.

    The container's own table says the same in its own words, and those are not to be believed.
    """
    with suppress(OSError):
        return parse_mountinfo(host.mountinfo(), os.fsencode(path))
    return None


def mounted_beneath(end: str, host: Host) -> Path | None:
    """Return the mount point of the runtime's machine whose path ends so, if there is one."""
    with suppress(OSError):
        points = (point for point in mount_points(host.mountinfo()) if point.endswith(end.encode()))
        return next((Path(os.fsdecode(point)) for point in points), None)
    return None


def clone_root(pid: int, proof: str) -> int:
    """Open the root of the mount namespace of process `pid`, without what is mounted in it.

    `proof` must occur in the process's cgroup, because a number alone may mean another process by
    now. Raises `OSError`, also where the process has its root elsewhere: then it might be anything.
    """
    with Process.open(pid) as process:
        if not any(proof in path for path in process.cgroups().values()):
            raise ProcessLookupError(f"process {pid} is not of the container")
        root = os.stat("root", dir_fd=process.folder)
        space = os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
        try:
            return in_thread(lambda: _clone_root(space, root))
        finally:
            os.close(space)


def _clone_root(space: int, root: os.stat_result) -> int:
    call("unshare", _CLONE_FS)
    call("setns", space, _CLONE_NEWNS)
    if not os.path.samestat(Path("/").stat(), root):
        raise PermissionError("the first process has changed its root")
    return _clone(_AT_FDCWD, b"/")


def clone_mount(place: int, pid: int) -> int:
    """Open the mount that `place` lies on, in the namespace of process `pid`, without those in it.

    Raises `OSError`.
    """
    with Process.open(pid) as process:
        space = os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
    with opened(space):
        return in_thread(lambda: _clone_mount(space, place))


def _clone_mount(space: int, place: int) -> int:
    call("unshare", _CLONE_FS)
    call("setns", space, _CLONE_NEWNS)
    return _clone(place, b"", _AT_EMPTY_PATH)


def mount_layers(layers: OverlayDirectories, host: Host | None = None) -> int:
    """Merge overlay layers of the runtime's machine read-only, and open the result.

    Raises `OSError`.
    """
    host = host or Host()
    if not host.foreign:
        return in_thread(lambda: _mount_layers(layers))
    space = os.open(host.base / "ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    with opened(space):
        return in_thread(lambda: _mount_there(layers, space))


def _mount_there(layers: OverlayDirectories, space: int) -> int:
    call("unshare", _CLONE_FS)
    call("setns", space, _CLONE_NEWNS)
    return _mount_layers(layers)


def _mount_layers(layers: OverlayDirectories) -> int:
    """Mount on /proc: it is everywhere, and the layers are named by its numbers before.

    By descriptors there may be hundreds of layers: one page has to hold all the names. The kernel
    merges only what is of the thread's own mount namespace, so they are opened in it.
    """
    call("unshare", _CLONE_NEWNS)
    # A new namespace's mounts are peers of the old one's: what is mounted would appear there, too.
    call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    with ExitStack() as stack:
        host, numbers = Host(Path("/proc/thread-self")), list[bytes]()
        for path in (layers.upper, *layers.lower_layers, *layers.data):
            place = stack.enter_context(opened(host.open(path)))
            numbers.append(str(place).encode())
        os.chdir("/proc/thread-self/fd")
        count = 1 + len(layers.lower_layers)
        # Behind `::` are layers that give only content, to files which upper layers describe.
        lower_layers = b"::".join([b":".join(numbers[:count]), *numbers[count:]])
        _mount_overlay(b"lowerdir=" + lower_layers, layers.marks)
        return os.open("/proc", _DIRECTORY)


def _mount_overlay(options: bytes, marks: bytes) -> None:
    """Mount as the container's overlay was, so that files renamed or changed in mode are whole.

    A kernel that does not know the options has not made such files either.
    """
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOATIME
    if marks.startswith(b"user."):
        ways = [options + b",userxattr"]
    else:
        ways = [options + b",metacopy=on,redirect_dir=follow", options]
    for way in ways:
        try:
            call("mount", b"overlay", b"/proc", b"overlay", flags, way)
            return
        except OSError as error:
            if error.errno != errno.EINVAL or way is ways[-1]:
                raise


def mount_queues() -> int:
    """Open the POSIX message queues of this thread's IPC namespace; it has to end soon.

    Raises `OSError`.
    """
    call("unshare", _CLONE_NEWNS)
    call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    call("mount", b"mqueue", b"/proc", b"mqueue", flags, None)
    return os.open("/proc", _DIRECTORY)


def enter(space: int, kind: int) -> None:
    """Let this thread, which has to end soon, into a namespace. Raises `OSError`."""
    call("setns", space, kind)


def in_thread(action: Callable[[], int]) -> int:
    """Return what `action` opens, in a thread that ends with it: namespaces are a thread's own."""
    with ThreadPoolExecutor(1, "view") as pool:
        return pool.submit(action).result()


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: bytes | int | None) -> int:
    """Call a function of the C library. Raises `OSError` where it returns a negative number."""
    wide = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    result = int(getattr(_libc(), name)(*wide))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result
