"""Files with what a command found: there as a whole or not at all, and for their owner alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from forensics_core.errors import UsageError


def kind_of(name: str, kinds: dict[str, str], what: str, *, or_folder: bool = False) -> str:
    """Return which of `kinds` the ending of a file's name says. Raises `UsageError`.

    `or_folder`: a folder would do as well, and is named in the hint.
    """
    kind = kinds.get(Path(name).suffix.lower())
    if kind is None:
        *several, last = kinds
        file = f"a file that ends in {', '.join(several)} or {last}, or 'json'"
        raise UsageError(
            f"'{name}' is not a kind of {what}",
            hint=f"Name {'a folder, or ' if or_folder else ''}{file}",
        )
    return kind


@contextmanager
def opened_output(path: Path) -> Iterator[TextIO]:
    """Open a file that takes the place of `path` at the end of the block, unless that fails."""
    # Like /dev/stdout, or a FIFO: it can be written to, and not be replaced.
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        return
    with (
        _replacement(path) as new,
        new.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        yield file


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """Make a file that takes the place of `path` at the end of the block, unless that fails."""
    try:
        # Beside it, as a file is renamed within a file system only; its name is cut, as one has 255
        # bytes at most.
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.")
    except OSError as error:
        # Of the name that was typed, not of one that nobody knows.
        raise OSError(error.errno, error.strerror, str(path)) from error
    os.close(number)
    new = Path(name)
    try:
        yield new
        new.replace(path)
    except BaseException:
        new.unlink()
        raise
