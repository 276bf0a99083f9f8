"""What was read of a process a moment ago is believed; that it is there never is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from collector.node.census import Census
from collector.node.procfs import HOST_PROC, Boundary, pids

BOX = "/kubepods/cri-4f2a.scope"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOST_PROC, str(tmp_path))
    begin(tmp_path, 7, BOX)
    return tmp_path


def begin(
    proc: Path, pid: int, cgroup: str, space: int = 1, parent: int = 7, numbers: str = ""
) -> None:
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "ns/pid").symlink_to(f"pid:[{space}]")
    (folder / "status").write_text(f"PPid:\t{parent}\nNSpid:\t{numbers or pid}\n")
    (folder / "cgroup").write_text(f"0::{cgroup}\n")


def companions(census: Census, pid: int, key: str = "") -> list[int]:
    boundary, listed = Boundary(pid, key), pids()
    census.keep(listed)
    return [other for other in listed if census.holds(boundary, other)]


def test_a_process_that_begins_later_is_found(proc: Path) -> None:
    census = Census(clock=lambda: 0)
    assert companions(census, 7, "4f2a") == [7]
    begin(proc, 8, f"{BOX}/more")
    begin(proc, 9, "/elsewhere")
    assert companions(census, 7, "4f2a") == [7, 8]


def test_a_process_that_has_ended_is_not_found(proc: Path) -> None:
    begin(proc, 8, BOX)
    census = Census(clock=lambda: 0)
    assert companions(census, 7, "4f2a") == [7, 8]
    shutil.rmtree(proc / "8")
    assert companions(census, 7, "4f2a") == [7]
    begin(proc, 8, "/elsewhere")
    assert companions(census, 7, "4f2a") == [7]


def test_where_a_process_belongs_is_read_again_after_a_while(proc: Path) -> None:
    begin(proc, 8, "/elsewhere")
    now = [0.0]
    census = Census(seconds=5, clock=lambda: now[0])
    assert companions(census, 7, "4f2a") == [7]
    (proc / "8/cgroup").write_text(f"0::{BOX}\n")
    now[0] = 4.9
    assert companions(census, 7, "4f2a") == [7]
    now[0] = 5
    assert companions(census, 7, "4f2a") == [7, 8]


def test_namespaces_within_the_containers_own_are_its(proc: Path) -> None:
    begin(proc, 20, "/away", space=2, numbers="20\t1")
    begin(proc, 21, "/left", space=2, parent=20, numbers="21\t2")
    begin(proc, 22, "/left", space=3, parent=21, numbers="22\t3\t1")
    begin(proc, 23, "/left", space=4, parent=1, numbers="23\t1")
    assert companions(Census(), 20) == [20, 21, 22]


def test_a_process_that_does_not_tell_its_namespace_is_known_by_its_cgroup(proc: Path) -> None:
    begin(proc, 8, BOX)
    (proc / "8/ns/pid").unlink()
    begin(proc, 20, "/away", space=2, numbers="20\t1")
    census = Census()
    assert companions(census, 7, "4f2a") == [7, 8]
    assert not census.holds(Boundary(20), 8)
    assert not census.holds(Boundary(20), 99)


def test_of_no_process_there_are_no_companions(proc: Path) -> None:
    with pytest.raises(FileNotFoundError):
        companions(Census(), 99)


def test_processes_that_share_the_containers_mounts_are_its(proc: Path) -> None:
    for pid, cgroup in ((8, "/left"), (9, "/left")):
        begin(proc, pid, cgroup)
    for pid, space in ((7, 2), (8, 2), (9, 3)):
        (proc / f"{pid}/ns/mnt").symlink_to(f"mnt:[{space}]")
    assert companions(Census(), 7, "4f2a") == [7, 8]
