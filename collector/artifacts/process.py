"""One process, as JSON.

Source: proc(5), capabilities(7)
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from collector.documents.text import Value, portable, readable
from collector.node.procfs import Process

MAX_DESCRIPTORS = 4096
"""Open files described of one process; `fdsTotal` counts all."""

Capability = IntEnum(
    "Capability",
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE",
    start=0,
)
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_SETS = {"CapInh": "inheritable", "CapPrm": "permitted", "CapEff": "effective"}
_SETS |= {"CapBnd": "bounding", "CapAmb": "ambient"}
_AREA = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ (\d+) *([^\n]*)\n",
    re.MULTILINE,
)

Row = dict[str, Any]


def describe(process: Process) -> Row:
    """Return everything worth knowing of `process`. Raises `OSError` once it has ended.

    A part that cannot be read, such as the memory map of a kernel thread or of a zombie, is null.
    """
    status = parse_status(process.read("status"))
    return {
        "pid": process.pid,
        "nspid": _numbers(status, "NSpid"),
        "ppid": int(status["PPid"]),
        "comm": portable(process.read("comm").removesuffix(b"\n")),
        "cmdline": _or_none(lambda: _strings(process.read("cmdline"))),
        "environ": _or_none(lambda: _strings(process.read("environ"))),
        **{name: _or_none(_link, process, name) for name in ("exe", "cwd", "root")},
        "uid": _numbers(status, "Uid"),
        "gid": _numbers(status, "Gid"),
        "groups": _numbers(status, "Groups"),
        **_times(process.read("stat")),
        "capabilities": {name: capabilities(status[key]) for key, name in _SETS.items()},
        "namespaces": {name: _or_none(_link, process, f"ns/{name}") for name in _NAMESPACES},
        "cgroup": {name: portable(os.fsencode(path)) for name, path in process.cgroups().items()},
        "threads": _or_none(process.numbers, "task"),
        "fds": _or_none(_descriptors, process),
        "fdsTotal": _or_none(lambda: len(process.numbers("fd"))),
        "maps": _or_none(lambda: summarise_maps(process.read("maps"))),
        "mountinfo": _or_none(lambda: portable(process.read("mountinfo"))),
        "uidMap": _or_none(lambda: portable(process.read("uid_map"))),
        "gidMap": _or_none(lambda: portable(process.read("gid_map"))),
        "status": status,
    }


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


def summarise_maps(content: bytes) -> list[Row]:
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


def _descriptors(process: Process) -> list[Row]:
    rows = []
    for number in process.numbers("fd")[:MAX_DESCRIPTORS]:
        target = _or_none(_link, process, f"fd/{number}")
        if target is not None:  # closed meanwhile
            rows.append({"fd": number, "target": target})
    return rows


def _times(stat: bytes) -> Row:
    """Return when the process started. Its name, in brackets, may hold brackets and spaces."""
    fields = stat.rpartition(b")")[2].split()
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


def _strings(content: bytes) -> list[Value]:
    r"""Return the strings of a list in which each ends in `\0`; the last end may be missing."""
    return [portable(part) for part in content.removesuffix(b"\0").split(b"\0")] if content else []


def _link(process: Process, name: str) -> Value:
    return portable(process.link(name))


def _or_none(part: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return part(*arguments)
    except OSError:
        return None
