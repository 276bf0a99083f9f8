"""A process's folder in /proc, also where somebody mounted something over it.

Who is root on the node, or in a container that may mount, covers /proc/PID with an empty directory
or with another process's folder: ps and all that lists /proc sees no such process any more. The
kernel tells when a path leads onto another mount, and what lies beneath is opened through a view of
/proc without what is mounted in it.

Source: openat2(2), open_tree(2)
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from collector.files.safe_open import clone_place, open_member, opened

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BASE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def open_folder(proc: Path, pid: int) -> tuple[int, bool]:
    """Open the folder of a process, and say whether something is mounted over it.

    Where no view beneath it is granted, what covers it is opened. Raises `OSError`.
    """
    with opened(os.open(proc, _BASE)) as base:
        name = b"%d" % pid
        try:
            return open_member(base, name, _FOLDER), False
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.ENOSYS, errno.EPERM}:
                raise
            covered = error.errno == errno.EXDEV
        try:
            if covered:
                with opened(clone_place(base)) as view:
                    return open_member(view, name, _FOLDER), True
        except OSError:
            pass  # what covers it may tell something, too
        return os.open(name, _FOLDER, dir_fd=base), covered
