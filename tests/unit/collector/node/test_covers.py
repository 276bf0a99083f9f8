"""Mounts over the folders of processes are seen in the container's own table."""

from pathlib import Path

import pytest

from collector.node.covers import CoveringMount, CoveringMounts, covers
from collector.node.procfs import HOST_PROC

ROOT = b"1 0 0:50 / / rw - overlay overlay rw\n"
PROC = b"2 1 0:51 / /proc rw - proc proc rw\n"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc with the container's processes 70 and 80, which it calls 1 and 12."""
    for pid, inner in ((70, 1), (80, 12)):
        folder = tmp_path / str(pid)
        (folder / "ns").mkdir(parents=True)
        (folder / "status").write_text(f"Name:\tx\nNSpid:\t{pid}\t{inner}\n")
        for name in ("mnt", "pid"):
            (folder / "ns" / name).symlink_to(f"{name}:[1]")
        (folder / "root").symlink_to("/")
    monkeypatch.setenv(HOST_PROC, str(tmp_path))
    return tmp_path


def test_what_hides_a_process(proc: Path) -> None:
    over = b"3 2 0:52 / /proc/12 rw - tmpfs none rw\n4 2 0:50 /tmp /proc/99/fd rw - overlay o rw\n"
    (proc / "70/mountinfo").write_bytes(ROOT + PROC + over)
    assert covers([70, 80]).listed == [
        CoveringMount(b"/proc/12", b"tmpfs", b"none", 70, 12, 80),
        CoveringMount(b"/proc/99/fd", b"overlay", b"o", 70, 99, 0),
    ]


def test_what_a_runtime_mounts_in_proc_hides_none(proc: Path) -> None:
    usual = b"3 2 0:51 /sys /proc/sys ro - proc proc rw\n4 2 0:52 / /proc/kcore rw - tmpfs t rw\n"
    (proc / "70/mountinfo").write_bytes(ROOT + PROC + usual)
    assert covers([70, 80, 90]) == CoveringMounts([])


def test_a_container_without_proc(proc: Path) -> None:
    (proc / "70/mountinfo").write_bytes(ROOT + b"3 1 0:52 / /proc/12 rw - tmpfs none rw\n")
    assert covers([70, 80]).listed == []


def test_no_more_mount_namespaces_are_looked_at_than_there_is_room_for(proc: Path) -> None:
    (proc / "80/ns/mnt").unlink()
    (proc / "80/ns/mnt").symlink_to("mnt:[2]")
    over = b"3 2 0:52 / /proc/12 rw - tmpfs none rw\n"
    for pid in (70, 80):
        (proc / f"{pid}/mountinfo").write_bytes(ROOT + PROC + over)
    assert [each.seen_by for each in covers([70, 80]).listed] == [70, 80]
    one = covers([70, 80], spaces=1)
    assert [each.seen_by for each in one.listed] == [70] and (one.more, one.unseen) == (0, 1)
    one = covers([70, 80], most=1)
    assert [each.seen_by for each in one.listed] == [70] and (one.more, one.unseen) == (1, 0)
