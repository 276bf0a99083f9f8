"""File systems that need never answer, and whose silence nobody can leave: FUSE.

A thread that waits for such a file system's server ends with neither a signal nor its program, once
the server has taken the question: a capture would be whole, and its process never end. So what is
not asked for by name is not read from there::

    if is_silent(process, (0, 47)):
        ...  # pass it over, and tell

Source: fs/fuse/dev.c (`request_wait_answer`)
"""

from __future__ import annotations

from contextlib import suppress

from collector.files.mounttable import parse_table
from collector.node.procfs import Process

WHY = "it is on a file system of a user's own program (FUSE), which need not answer"


def is_silent(process: Process, device: tuple[int, int] | bytes) -> bool:
    """Whether a file system is FUSE's, as far as the process sees it mounted.

    It is given by major and minor number, or by these in hexadecimal, as in a map: `00:2f`.
    """
    if isinstance(device, bytes):
        major, _, minor = device.partition(b":")
        device = int(major, 16), int(minor, 16)
    return device in _known(process)


def sees_silent(process: Process) -> bool:
    """Whether any is mounted where the process looks: then each of its paths may lead there."""
    return bool(_known(process))


def _known(process: Process) -> frozenset[tuple[int, int]]:
    if process.silent is None:
        process.silent = _silent(process)
    return process.silent


def _silent(process: Process) -> frozenset[tuple[int, int]]:
    found = set[tuple[int, int]]()
    with suppress(OSError, ValueError):
        for mount in parse_table(process.read("mountinfo")):
            if mount.kind in {b"fuse", b"fuseblk"} or mount.kind.startswith(b"fuse."):
                major, _, minor = mount.device.partition(b":")
                found.add((int(major), int(minor)))
    return frozenset(found)
