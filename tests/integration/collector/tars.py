"""A tar of the test's own in front of the machine's: what no disk and no timing gives on demand."""

from __future__ import annotations

import shutil
from pathlib import Path

from collector.files.gnu_tar import TreeLimits
from forensics_core._internal import children

REAL = str(shutil.which("tar"))


def with_tar(folder: Path, script: str) -> TreeLimits:
    """Return limits with which `script`, of a shell, is what reads a tree; it may run `REAL`."""
    tar = folder / "bin" / "tar"
    tar.parent.mkdir()
    tar.write_text(f'#!/bin/sh\n[ "$1" != --version ] || exec {REAL} --version\n{script}\n')
    tar.chmod(0o755)
    return TreeLimits(folders=(str(tar.parent), *children.FOLDERS))
