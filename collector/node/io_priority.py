"""Staying out of the workload's way: a lower priority for processor and disk.

Both count among the processes of one cgroup: between the pods of a node their CPU requests decide.
That of the disk needs a scheduler that knows priorities, such as BFQ.

Source: https://man7.org/linux/man-pages/man2/ioprio_set.2.html
"""

from __future__ import annotations

import ctypes
import os
import platform

NICENESS = 10
"""A tenth of the processor's time against a busy workload, and all of it where that is idle."""

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""The system call's number, and the one after it is that of `ioprio_get`."""
_THIS_PROCESS = 1
_IDLE = 3
_LOWEST = 2 << 13 | 7
"""Best effort, the last of eight levels. The idle class might never be served at all."""


def lower_priorities() -> None:
    """Lower this process's priorities, and those of all children to come.

    To be called before the first thread starts, because Linux keeps priorities by thread. A
    process that is nice already stays as nice as it is. A kernel that refuses is left alone.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), NICENESS))
    number = _IOPRIO_SET.get(platform.machine())
    if number:
        libc = ctypes.CDLL(None)
        if libc.syscall(number + 1, _THIS_PROCESS, 0) >> 13 != _IDLE:
            libc.syscall(number, _THIS_PROCESS, 0, _LOWEST)
