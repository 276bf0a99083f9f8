"""A mount beneath others is opened, and nobody else sees any difference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.files.covered import MAX_COVERS, open_covered
from collector.files.mounted import SeenMount, survey, uncover
from collector.files.mounttable import Mount, parse_table
from collector.files.safe_open import opened
from collector.node.procfs import Process
from tests.unit.collector.node.test_deletedfiles import holding
from tests.unit.collector.node.test_unlisted import PRIVATE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other users' processes")


def over(folder: str, name: str) -> str:
    """Mount a tmpfs on `folder`, with a file in it."""
    return f"""
os.makedirs({folder!r}, exist_ok=True)
assert not libc.mount(b"tmpfs", {folder!r}.encode(), b"tmpfs", 0, None)
open({folder!r} + "/{name}", "w").close()
"""


def mounts(pid: int, point: Path) -> list[Mount]:
    with Process.open(pid) as process:
        table = parse_table(process.read("mountinfo"))
        return [each for each in table if each.point == os.fsencode(point)]


def names(place: int) -> list[str]:
    with opened(place):
        return [each.name for each in Path(f"/proc/self/fd/{place}").iterdir()]


def test_each_of_several_at_one_place_and_beneath_another(tmp_path: Path) -> None:
    deep = tmp_path / "in" / "deep"
    script = PRIVATE + "private()" + over(str(deep), "lowest") + over(str(deep), "lower")
    script += over(str(tmp_path / "in"), "seen")
    with holding(tmp_path, script) as pid:
        before = Path(f"/proc/{pid}/mountinfo").read_text()
        lowest, lower = mounts(pid, deep)
        (seen,) = mounts(pid, tmp_path / "in")
        for mount, name in ((lowest, "lowest"), (lower, "lower"), (seen, "seen")):
            assert names(open_covered(pid, mount)) == [name]
        assert Path(f"/proc/{pid}/mountinfo").read_text() == before


def test_one_that_is_gone_or_too_deep(tmp_path: Path) -> None:
    script = f"""{PRIVATE}private()
for number in range({MAX_COVERS + 2}):
    assert not libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, None)
"""
    with holding(tmp_path, script) as pid:
        first, *_ = mounts(pid, tmp_path)
        with pytest.raises(FileNotFoundError, match="more than"):
            open_covered(pid, first)
        gone = Mount(1, b"0:0", b"/", b"/nowhere", b"tmpfs", b"", b"")
        with pytest.raises(FileNotFoundError, match="was moved"):
            open_covered(pid, gone)


def test_a_process_with_another_root(tmp_path: Path) -> None:
    with holding(tmp_path, "os.chroot(folder)") as pid:
        (found, *_) = survey([os.getpid()], "").mounts
        with pytest.raises(FileNotFoundError, match="another root"):
            open_covered(pid, found.mount)


def test_what_cannot_be_opened_stays_as_it_is() -> None:
    mount = Mount(1, b"0:0", b"/", b"/nowhere", b"tmpfs", b"", b"")
    seen = SeenMount(mount, os.getpid(), b"/nowhere", b"", obstacle="another mount covers it")
    uncover(seen)
    assert seen.obstacle and seen.covered is None
