"""What the file system says of members, in whatever order their directories come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.files.details import MAX_OPEN, Details
from collector.files.sockets import decimal, whole_and_rest
from forensics_core.tarindex.member import Member


def member(path: bytes, ctime: str = "") -> Member:
    return Member(path, "file", 0o644, 0, 0, 0, "0", ctime=ctime)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree deeper than directories stay open, with a file before and behind each folder."""
    folder = tmp_path
    for _ in range(MAX_OPEN + 4):
        for name in ("a", "z"):
            (folder / name).write_bytes(b"")
        folder = folder / "deeper"
        folder.mkdir()
    (tmp_path / "deeper-still").mkdir()
    (tmp_path / "deeper-still" / "a").write_bytes(b"")
    return tmp_path


@pytest.fixture
def details(tree: Path) -> Iterator[Details]:
    root = os.open(tree, os.O_PATH)
    asked = Details(root)
    yield asked
    asked.close()
    os.close(root)


def in_order(folder: Path) -> Iterator[Path]:
    """Yield all beneath a folder as tar does: what lies in a directory right behind it."""
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from in_order(path)


def asked(details: Details, tree: Path, path: Path) -> tuple[int, int, int] | None:
    found = member(b"/" + os.fsencode(path.relative_to(tree)))
    details.add(found)
    return found.inode


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def inode(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_ino, os.major(status.st_dev), os.minor(status.st_dev)


def test_each_member_is_told_its_own_inode(tree: Path, details: Details) -> None:
    for path in in_order(tree):
        assert asked(details, tree, path) == inode(path)
    assert not details.missed


def test_no_more_directories_stay_open_than_may(tree: Path, details: Details) -> None:
    before, most = descriptors(), 0
    for path in in_order(tree):
        asked(details, tree, path)
        most = max(most, descriptors())
    details.close()
    assert before < most <= before + MAX_OPEN
    assert descriptors() == before


def test_what_lies_behind_a_link_is_not_asked_about(tree: Path, details: Details) -> None:
    (tree / "link").symlink_to("deeper")
    assert asked(details, tree, tree / "deeper" / "a") == inode(tree / "deeper" / "a")
    assert asked(details, tree, tree / "link" / "a") is None
    assert asked(details, tree, tree / "link" / "z") is None
    assert details.missed == 2
    assert asked(details, tree, tree / "deeper" / "z") == inode(tree / "deeper" / "z")


def test_a_file_is_changed_where_the_archive_has_another_time_of_change(
    tree: Path, details: Details
) -> None:
    now = decimal((tree / "a").stat().st_ctime_ns)
    for ctime, changed in ((now, False), ("", False), ("1.5", True)):
        found = member(b"/a", ctime)
        details.add(found)
        assert found.changed is changed
        assert found.btime
    assert details.changed == 1


@pytest.mark.parametrize("nanoseconds", [0, 1, 15 * 10**8, 5 * 10**9, -1, -(10**9), -15 * 10**8])
def test_both_spellings_of_a_time_agree(nanoseconds: int) -> None:
    assert whole_and_rest(nanoseconds // 10**9, nanoseconds % 10**9) == decimal(nanoseconds)
