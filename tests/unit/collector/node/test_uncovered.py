"""A process's folder is opened beneath what is mounted over it, as far as the kernel lets us."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.files.safe_open import opened
from collector.node.uncovered import open_folder
from tests.unit.collector.node.test_visibility import as_nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")


@pytest.fixture
def proc(tmp_path: Path) -> Iterator[Path]:
    """A folder with the numbers 7 and 8, of which 8 is covered by what is at 9."""
    for name in ("7/inside", "8/beneath", "9/on-top"):
        (tmp_path / name).mkdir(parents=True)
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    subprocess.run(["mount", "--make-private", tmp_path], check=True)
    subprocess.run(["mount", "--bind", tmp_path / "9", tmp_path / "8"], check=True)
    yield tmp_path
    subprocess.run(["umount", "-R", "-l", tmp_path], check=True)


def names(proc: Path, pid: int) -> tuple[list[str], bool]:
    folder, covered = open_folder(proc, pid)
    with opened(folder), os.scandir(folder) as entries:
        return [entry.name for entry in entries], covered


def test_what_lies_beneath_a_mount(proc: Path) -> None:
    assert names(proc, 7) == (["inside"], False)
    assert names(proc, 8) == (["beneath"], True)


def test_who_may_not_mount_gets_what_is_on_top(proc: Path) -> None:
    for folder in (proc, proc / "8"):
        folder.chmod(0o755)
    with opened(os.open(proc, os.O_PATH)) as base:
        ours = Path(f"/proc/self/fd/{base}")
        assert as_nobody(lambda: names(ours, 8)) == (["on-top"], True)


def test_a_number_without_process(proc: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_folder(proc, 10)
