"""One process, as JSON.

Source: proc(5), capabilities(7), proc_pid_maps(5)
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from collector.documents import Strings, Value, portable, readable, strings
from collector.node.ancestry import login
from collector.node.openfiles import MAX_DESCRIPTORS, mounted_devices, open_files
from collector.node.procfs import MAX_BYTES, Process

MAX_STRINGS = 2 * 1024 * 1024
"""Bytes of `cmdline`, and of `environ`: as much as Linux takes in a program's start by default."""
LITTLE = 64 * 1024
"""Bytes of them, and of a table of mounts, once the rows of a container have used up their room."""
MAX_CONTENTS = 32 * 1024 * 1024
"""Bytes of /proc that are kept, so that they are not read again for the archive."""

Capability = IntEnum(
    "Capability",
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE",
    start=0,
)
_ARGUMENTS, _ENVIRONMENT = slice(45, 47), slice(47, 49)
"""Where /proc/PID/stat says where both lie in the memory, counted behind the name."""
_ENDED = (b"Z", b"X")
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_SETS = {"CapInh": "inheritable", "CapPrm": "permitted", "CapEff": "effective"}
_SETS |= {"CapBnd": "bounding", "CapAmb": "ambient"}
_AREA = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ (\d+) *([^\n]*)\n",
    re.MULTILINE,
)

MAX_AREAS = 16 * 1024
"""Areas of one process that are listed; the kernel's own table is in the archive of /proc."""
ProcessRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowLimits:
    """How much of the processes of one container is in their rows."""

    threads: int = 32 * 1024
    """Threads listed of one process; `threadsTotal` counts all."""
    descriptors: int = MAX_DESCRIPTORS
    """Open files described of one process; `fdsTotal` counts all."""
    areas: int = MAX_AREAS
    """Areas of its memory that are listed, and rows of their summary."""
    little: int = LITTLE
    """Bytes of a list of strings, or a table of mounts, once the room for `letters` is used up."""
    letters: int = 256 * 1024 * 1024
    """Letters of all rows together."""
    mount_spaces: int = 64
    """Mount namespaces of which it is known which mount is of which file system."""


ROW_LIMITS = RowLimits()


@dataclass(slots=True)
class RowBudget:
    """What the rows of one container's processes may hold."""

    limits: RowLimits = ROW_LIMITS
    left: int = field(init=False)
    """Letters that further rows may have."""
    mounts: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    """The process whose row has the long table of a mount namespace, as seen from a root."""
    devices: dict[tuple[bytes, bytes], dict[int, str]] = field(default_factory=dict)
    """The file systems of each mount in these tables."""
    contents: dict[int, dict[str, bytes]] = field(default_factory=dict)
    """What was read of each process, by name, for the archive that is made of the same."""
    contents_left: int = MAX_CONTENTS
    """Bytes that these may still hold."""

    def __post_init__(self) -> None:
        self.left = self.limits.letters

    def limit(self, most: int) -> int:
        """Return how many bytes to read of a file, of which a row has `most` at most."""
        return most if self.left > 0 else self.limits.little

    def keep(self, process: Process) -> None:
        """Let the process keep from now on what is read of it, while there is room."""
        if self.contents_left > 0:
            process.kept = self.contents[process.pid] = {}

    def account(self, process: Process) -> None:
        """Count what a process has kept."""
        self.contents_left -= sum(map(len, (process.kept or {}).values()))


HANGING = ("maps", "areas", "cmdline", "environ")
"""Parts of a row for which the kernel waits for the process, or for what its memory is of."""


def describe(
    process: Process, room: RowBudget | None = None, row: ProcessRow | None = None
) -> ProcessRow:
    """Return everything worth knowing of `process`. Raises `OSError` once it has ended.

    What can hang is read last: `row` has by then what there is without it, and in `hung` what is
    still to come.

    A part that cannot be read, such as the memory map of a kernel thread or of a zombie, is null;
    what this process may not read is in `process.refused`.
    """
    room, row = room or RowBudget(), {} if row is None else row
    room.keep(process)
    status, stat = parse_status(process.read("status")), _fields(process.read("stat"))
    row |= {
        "pid": process.pid,
        "nspid": _numbers(status, "NSpid"),
        "ppid": int(status["PPid"]),
        "comm": portable(process.read("comm").removesuffix(b"\n")),
        "cmdline": None,
        "environ": None,
        **{name: _or_none(_link, process, name) for name in ("exe", "cwd", "root")},
        "uid": _numbers(status, "Uid"),
        "gid": _numbers(status, "Gid"),
        "groups": _numbers(status, "Groups"),
        **_times(stat),
        **(_or_none(login, process, stat) or {}),
        "capabilities": {name: capabilities(status[key]) for key, name in _SETS.items()},
        "namespaces": {name: _or_none(_link, process, f"ns/{name}") for name in _NAMESPACES},
        "cgroup": {name: portable(os.fsencode(path)) for name, path in process.cgroups().items()},
        "threads": _or_none(process.numbers, "task", room.limits.threads),
        "threadsTotal": _or_none(_count, process, "task", room.limits.threads),
        **(_or_none(_mounts, process, room) or {"mountinfo": None}),
        "fds": _or_none(_descriptors, process, room),
        "fdsTotal": _or_none(_count, process, "fd", room.limits.descriptors),
        "maps": None,
        "areas": None,
        "uidMap": _or_none(_text, process, "uid_map"),
        "gidMap": _or_none(_text, process, "gid_map"),
        "status": status,
        "hung": [*HANGING],
    }
    row |= _or_none(_maps, process, room) or {}
    for name, ends in ("cmdline", _ARGUMENTS), ("environ", _ENVIRONMENT):
        row["hung"] = row["hung"][row["hung"].index(name) :]
        row[name] = _or_none(_strings, process, name, stat[ends], room)
    del row["hung"]
    return row


def parse_status(content: bytes) -> dict[str, str]:
    """Return the fields of `/proc/PID/status`; the kernel escapes what is odd in the name."""
    fields = (line.partition(":") for line in readable(content).split("\n"))
    return {name: value.strip() for name, mark, value in fields if mark}


def capabilities(mask: str) -> list[str]:
    """Return the names of the bits in a hexadecimal mask; unknown ones by number."""
    bits = int(mask, 16)
    return [
        Capability(bit).name if bit < len(Capability) else str(bit)
        for bit in range(bits.bit_length())
        if bits >> bit & 1
    ]


def summarise_maps(content: bytes) -> list[ProcessRow]:
    """Return one row for each file and permission in `/proc/PID/maps`, with counts and bytes.

    A line that was cut is left out.
    """
    counts: Counter[tuple[bytes, bytes, bytes]] = Counter()
    sizes: Counter[tuple[bytes, bytes, bytes]] = Counter()
    for match in _AREA.finditer(content):
        start, end, permissions, inode, path = match.groups()
        counts[path, permissions, inode] += 1
        sizes[path, permissions, inode] += int(end, 16) - int(start, 16)
    return [
        {
            "path": portable(path),
            "permissions": permissions.decode(),
            "inode": int(inode),
            "areas": counts[path, permissions, inode],
            "bytes": sizes[path, permissions, inode],
        }
        for path, permissions, inode in counts
    ]


def _descriptors(process: Process, room: RowBudget) -> list[ProcessRow]:
    devices = _or_none(_devices, process, room) or {}
    return open_files(process, devices, room.limits.descriptors)


def _devices(process: Process, room: RowBudget) -> dict[int, str]:
    return room.devices.get((process.link("ns/mnt"), process.link("root")), {})


def _count(process: Process, name: str, limit: int) -> int:
    """Return how many entries a directory has, and note if they are more than a row lists."""
    total = process.count(name)
    if total > limit:
        process.cut.append(name)
    return total


def _maps(process: Process, room: RowBudget) -> ProcessRow:
    """Return the summary of the memory map, and its areas while there is room."""
    content, most = process.read("maps"), room.limits.areas
    rows = summarise_maps(content)
    listed = areas(content, most) if room.left > 0 else None
    if (listed is None or content.count(b"\n") > most) and "maps" not in process.cut:
        process.cut.append("maps")
    return {"maps": rows[:most], "areas": listed}


def _mounts(process: Process, room: RowBudget) -> ProcessRow:
    """Return the table of mounts; a long one is in one row only of those who all see the same."""
    seen = process.link("ns/mnt"), process.link("root")
    if seen in room.mounts:
        return {"mountinfo": None, "mountinfoOf": room.mounts[seen]}
    table = process.read("mountinfo", room.limit(MAX_BYTES))
    if seen not in room.devices and len(room.devices) < room.limits.mount_spaces:
        room.devices[seen] = mounted_devices(table)
    if len(table) >= room.limits.little:
        room.mounts[seen] = process.pid
    return {"mountinfo": portable(table)}


def _fields(stat: bytes) -> list[bytes]:
    """Return the fields behind the name, which, in brackets, may hold brackets and spaces."""
    return stat.rpartition(b")")[2].split()


def _times(fields: list[bytes]) -> ProcessRow:
    """Return when the process started."""
    ticks = int(fields[19])
    started = _boot_time() + ticks / os.sysconf("SC_CLK_TCK")
    return {
        "state": fields[0].decode(),
        "startTicks": ticks,
        "startTime": datetime.fromtimestamp(started, UTC).isoformat(),
    }


@cache
def _boot_time() -> int:
    """Return when the machine was started, in seconds since 1970."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))


def _numbers(status: dict[str, str], name: str) -> list[int]:
    return [int(number) for number in status.get(name, "").split()]


def _strings(process: Process, name: str, ends: list[bytes], room: RowBudget) -> Strings:
    """Return a list of strings; the kernel says where it begins and ends in the memory."""
    cuts = len(process.cut)
    content = process.read(name, room.limit(MAX_STRINGS))
    size = int(ends[1]) - int(ends[0]) if len(ends) == 2 else 0
    if not content and size > 0 and _state(process) not in _ENDED:
        process.unshown[name] = size
    if len(process.cut) == cuts:
        return strings(content)
    # The two were not read at the same moment: a size that contradicts what is here says nothing.
    return strings(content, size if size > len(content) else 0)


def _state(process: Process) -> bytes:
    return _fields(process.read("stat"))[0]


def _text(process: Process, name: str) -> Value:
    return portable(process.read(name))


def _link(process: Process, name: str) -> Value:
    return portable(process.link(name))


def _or_none(part: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return part(*arguments)
    except PermissionError:
        process, name = arguments[0], next(filter(_is_text, arguments), part.__name__.strip("_"))
        process.refused.append(name)
    except OSError:
        pass
    return None


def _is_text(argument: object) -> bool:
    return isinstance(argument, str)


_MAP_AREA = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *([^\n]*)\n",
    re.MULTILINE,
)


def areas(content: bytes, limit: int = MAX_AREAS) -> list[dict[str, Any]]:
    """Return the areas in `/proc/PID/maps`, in its order and no more than `limit`.

    Each has `start`, `end` and `offset` in hexadecimal, `permissions`, and what it is of: `device`,
    major and minor number in decimal, `inode`, `path`. A line that was cut is left out.
    """
    rows: list[dict[str, Any]] = []
    for match in _MAP_AREA.finditer(content):
        if len(rows) >= limit:
            break
        start, end, permissions, offset, major, minor, inode, path = match.groups()
        row: dict[str, Any] = {
            "start": start.decode(),
            "end": end.decode(),
            "permissions": permissions.decode(),
        }
        if inode != b"0":
            row["offset"] = offset.decode().lstrip("0") or "0"
            row["device"] = f"{int(major, 16)}:{int(minor, 16)}"
            row["inode"] = int(inode)
        if path:
            row["path"] = portable(path)
        rows.append(row)
    return rows
