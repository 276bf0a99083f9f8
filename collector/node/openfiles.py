"""The files that a process has open, with the numbers by which the index of its files has them too.

`fdinfo` tells them without a word to the file itself, which may be on a file system that hangs.

Source: proc_pid_fdinfo(5)
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from collector.documents import portable
from collector.node.procfs import Process

MAX_DESCRIPTORS = 16 * 1024
"""Open files described of one process; `fdsTotal` counts all."""
MAX_INFO = 64 * 1024
"""Bytes of what the kernel says of one open file: an epoll descriptor lists all that it watches."""
_FIELD = re.compile(rb"^(pos|flags|mnt_id|ino):\t(\d+)$", re.MULTILINE)
_NUMBERED = re.compile(rb"(?:socket|pipe):\[(\d+)\]")


def open_files(process: Process, devices: dict[int, str], limit: int) -> list[dict[str, Any]]:
    """Return a row for each open file: `fd`, `target`, and as far as they are known `inode`,
    `device`, `position` and `flags`.

    `devices` are the file systems of the mounts that the process sees. Raises `OSError`.
    """
    rows: list[dict[str, Any]] = []
    for number in process.numbers("fd", limit):
        with suppress(OSError):  # closed meanwhile
            target = process.link(f"fd/{number}")
            rows.append({"fd": number, "target": portable(target), **_info(process, number)})
            if "inode" not in rows[-1] and (named := _NUMBERED.fullmatch(target)):
                rows[-1]["inode"] = int(named[1])
            mount = rows[-1].pop("mount", None)
            if mount in devices:
                rows[-1]["device"] = devices[mount]
    return rows


def _info(process: Process, number: int) -> dict[str, Any]:
    with suppress(OSError):
        found = dict(_FIELD.findall(process.read(f"fdinfo/{number}", MAX_INFO)))
        names = {b"ino": "inode", b"mnt_id": "mount", b"pos": "position"}
        row: dict[str, Any] = {name: int(found[key]) for key, name in names.items() if key in found}
        return row | ({"flags": "0" + found[b"flags"].decode().lstrip("0")} if found else {})
    return {}


def mounted_devices(table: bytes) -> dict[int, str]:
    """Return the file system of each mount in a table, major and minor number, by its number."""
    fields = (line.split(b" ", 3) for line in table.split(b"\n"))
    return {
        int(row[0]): row[2].decode(errors="replace")
        for row in fields
        if len(row) > 3 and row[0].isdigit()
    }
