"""A process's memory map, area by area, with the numbers by which the index has its files too.

Source: proc_pid_maps(5)
"""

from __future__ import annotations

import re
from typing import Any

from collector.documents import portable

_AREA = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *([^\n]*)\n",
    re.MULTILINE,
)
MAX_AREAS = 16 * 1024
"""Areas of one process that are listed; the kernel's own table is in the archive of /proc."""


def areas(content: bytes, limit: int = MAX_AREAS) -> list[dict[str, Any]]:
    """Return the areas in `/proc/PID/maps`, in its order and no more than `limit`.

    Each has `start`, `end` and `offset` in hexadecimal, `permissions`, and what it is of: `device`,
    major and minor number in decimal, `inode`, `path`. A line that was cut is left out.
    """
    rows: list[dict[str, Any]] = []
    for match in _AREA.finditer(content):
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
