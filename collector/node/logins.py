"""Whose doing a process is: its terminal, its session, and who logged in to start it.

Source: proc_pid_stat(5), proc_pid_loginuid(5), Documentation/admin-guide/devices.txt
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from collector.node.procfs import Process

_UNSET = 2**32 - 1
"""What the kernel says where nobody logged in."""
_SLAVES = range(136, 144)
"""Major numbers of the terminals of /dev/pts."""
_PER_MAJOR = 256
_CONSOLES = {0: "tty", 1: "console", 2: "ptmx"}
_SERIAL = 64
"""The first minor number of a serial line among those of major number 4."""


def login(process: Process, stat: Sequence[bytes]) -> dict[str, Any]:
    """Return `session`, `processGroup`, `terminal`, `loginUid` and `auditSession`.

    `stat` are the fields behind the name. The last three are null where there is none.
    """
    return {
        "session": int(stat[3]),
        "processGroup": int(stat[2]),
        "terminal": terminal(int(stat[4])),
        "loginUid": _number(process, "loginuid"),
        "auditSession": _number(process, "sessionid"),
    }


def terminal(device: int) -> str | None:
    """Return what the terminal of this number is called in /dev: `pts/0`; None for none.

    That of a container is counted in the container's own /dev/pts.
    """
    if device == 0:
        return None
    device &= _UNSET
    major, minor = device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00
    if major in _SLAVES:
        return f"pts/{(major - _SLAVES.start) * _PER_MAJOR + minor}"
    if major == 4:
        return f"tty{minor}" if minor < _SERIAL else f"ttyS{minor - _SERIAL}"
    return _CONSOLES[minor] if major == 5 and minor in _CONSOLES else f"{major}:{minor}"


def _number(process: Process, name: str) -> int | None:
    with suppress(OSError, ValueError):
        number = int(process.read(name))
        return None if number == _UNSET else number
    return None
