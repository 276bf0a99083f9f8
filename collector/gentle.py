"""Staying out of the workload's way: a lower priority for processor and disk.

A process that has set no priority for the disk has the one that follows from the processor's.

Source: https://man7.org/linux/man-pages/man2/ioprio_set.2.html
"""

from __future__ import annotations

import os

NICENESS = 10
"""A tenth of the processor's time against a busy workload, and all of it where that is idle."""


def be_gentle() -> None:
    """Lower this process's priority, and that of all children to come.

    To be called before the first thread starts, because Linux keeps priorities by thread. A
    process that is nice already stays as nice as it is.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), NICENESS))
