"""What a file may do when it is run: its format, and whose rights it gets."""

from __future__ import annotations

import os
import stat

from collector.files.safe_open import open_data, opened

SET_ID = {stat.S_ISUID: "setuid", stat.S_ISGID: "setgid"}
"""The bits that give a program its owner's or group's rights, with their words."""
_EXECUTE = 0o111
_FORMATS = ((b"\x7fELF", "ELF"), (b"#!", "script"))


def is_executable(status: os.stat_result) -> bool:
    """Return whether it is a regular file that somebody may execute."""
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & _EXECUTE)


def program_format(place: int) -> str:
    """Return `ELF` or `script` by what the file at `place` begins with; else nothing.

    Raises `OSError`.
    """
    with opened(open_data(place)) as data:
        beginning = os.pread(data, 4, 0)
    return next((word for magic, word in _FORMATS if beginning.startswith(magic)), "")
