"""What stands in /proc beside the processes: of the machine, and of the container's namespaces.

Tables of System V objects and names of hosts are those of the reader's namespaces, so a thread
enters the container's.

Source: proc(5), sysvipc(7), uts_namespaces(7)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from collector.files.mounts import enter
from collector.node.procfs import MAX_BYTES, Process, host_proc
from collector.node.proctree import ProcTree

_STEP = 64 * 1024
"""Read at once: files of /proc/sys refuse more than the kernel gives in one piece."""
_CLONE_NEWUTS, _CLONE_NEWIPC = 0x04000000, 0x08000000
_MACHINE = (
    *("uptime", "stat", "version", "modules", "loadavg", "meminfo", "cpuinfo", "cmdline"),
    *("keys", "key-users"),
    *("filesystems", "devices", "sys/kernel/random/boot_id", "sys/kernel/osrelease"),
    *("sys/kernel/ostype", "sys/kernel/version", "sys/kernel/pid_max", "sys/kernel/tainted"),
)
_INNER = {
    _CLONE_NEWIPC: ("ns/ipc", ("sysvipc/shm", "sysvipc/sem", "sysvipc/msg")),
    _CLONE_NEWUTS: ("ns/uts", ("sys/kernel/hostname", "sys/kernel/domainname")),
}


def top(tree: ProcTree, first: int) -> Iterator[bytes]:
    """Yield all that is no process; `first` is the container's first one, open to be asked."""
    yield tree.folder("")
    for name in ("sys", "sys/kernel", "sys/kernel/random", "sysvipc"):
        yield tree.folder(name)
    for name in _MACHINE:
        try:
            yield tree.file(name, _read(host_proc() / name))
        except OSError as error:
            tree.refuse(name, error, name)
    for kind, (space, names) in _INNER.items():
        try:
            with ThreadPoolExecutor(1, "space") as pool:
                found = pool.submit(_inside, first, kind, space, names).result()
            for name, content in found.items():
                yield tree.file(name, content)
        except OSError as error:
            tree.refuse(space, error, str(first))
    yield tree.link("self", b"%d" % first)
    yield tree.link("net", b"self/net")
    yield tree.link("mounts", b"self/mounts")


def _inside(pid: int, kind: int, space: str, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return files of /proc as they are in a namespace; this thread has to end soon."""
    with Process.open(pid) as process:
        place = os.open(space, os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
    try:
        if not os.path.samestat(os.fstat(place), Path(f"/proc/thread-self/{space}").stat()):
            enter(place, kind)
    finally:
        os.close(place)
    found: dict[str, bytes] = {}
    for name in names:
        with suppress(FileNotFoundError):
            found[name] = _read(Path("/proc") / name)
    return found


def _read(path: Path) -> bytes:
    content = bytearray()
    with path.open("rb", buffering=0) as file:
        while len(content) < MAX_BYTES and (more := file.read(_STEP)):
            content += more
    return bytes(content)
