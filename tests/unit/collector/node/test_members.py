"""A container's processes are found by several ways, and those that one leaves out are named."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.node.members import MemberSearch, cgroup_folders
from collector.node.procfs import HOST_PROC, Boundary, Process, pids

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes PID namespaces")


@pytest.fixture
def first() -> Iterator[int]:
    """The first process of a PID namespace, which has a child."""
    command = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "sleep 1000 & echo; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout
        running.stdout.readline()
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text()
        yield int(children.split()[0])
        running.kill()


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@root_only
def test_one_that_no_listing_has_is_hidden(first: int) -> None:
    hidden = child_of(first)
    search = MemberSearch(first, "no-cgroup-is-called-so", seconds=60)
    search.listing = lambda: [pid for pid in pids() if pid != hidden]
    search.look()
    assert search.hidden == [hidden] and {"children", "number"} <= search.found[hidden]
    assert not search.covered and not search.untried


@root_only
def test_one_that_began_after_the_listing_is_not_hidden(first: int) -> None:
    young = child_of(first)
    listings = iter([[pid for pid in pids() if pid != young]])
    search = MemberSearch(first, "no-cgroup-is-called-so")
    search.listing = lambda: next(listings, None) or pids()
    search.look()
    assert not search.hidden and "listing" in search.found[young]


@root_only
def test_one_that_ended_meanwhile_is_left_out(first: int) -> None:
    search = MemberSearch(first, "no-cgroup-is-called-so", listed=[2**22 + 1, first])
    search.look()
    assert 2**22 + 1 not in search.found and not search.hidden
    assert "runtime" in search.found[first]


@root_only
def test_a_thread_is_no_hidden_process() -> None:
    held = threading.Event()
    thread = threading.Thread(target=held.wait)
    thread.start()
    try:
        search = MemberSearch(os.getpid(), "", seconds=60)
        search.look()
        assert thread.native_id not in search.found and not search.hidden
    finally:
        held.set()
        thread.join()


def test_threads_that_are_too_many_are_not_asked_for_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "7"
    (folder / "ns").mkdir(parents=True)
    (folder / "ns/pid").symlink_to("pid:[1]")
    (folder / "status").write_text("Name:\tx\nTgid:\t7\nNSpid:\t7\n")
    (folder / "cgroup").write_text("0::/box\n")
    for thread in (7, 8):
        (folder / f"task/{thread}").mkdir(parents=True)
        (folder / f"task/{thread}/children").write_text("9 ")
    monkeypatch.setenv(HOST_PROC, str(tmp_path))
    search = MemberSearch(7, "box")
    search.look()
    assert search.found == {7: {"listing"}}  # 9 has ended
    assert not search.unasked and search.shares
    few = MemberSearch(7, "box", max_threads=1)
    few.look()
    assert few.unasked == 2  # a thread of 7, and 9, which it has started
    none = MemberSearch(7, "box", max_threads=0)
    none.look()
    assert none.unasked == 1


def test_cgroups_lie_where_they_are_mounted() -> None:
    found = cgroup_folders({"": "/x", "pids": "/x", "no-such": "/x", "memory": "/../x"})
    assert all(folder.name == "x" and ".." not in folder.parts for folder in found)


def test_a_kernel_that_tells_no_children_and_a_cgroup_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "7"
    (folder / "ns").mkdir(parents=True)
    (folder / "ns/pid").symlink_to("pid:[1]")
    (folder / "status").write_text("Name:\tx\nTgid:\t7\nNSpid:\t7\n")
    (folder / "cgroup").write_text("0::/no-such-cgroup\n")
    (folder / "task/7").mkdir(parents=True)
    (tmp_path / "self").symlink_to(str(os.getpid()))
    monkeypatch.setenv(HOST_PROC, str(tmp_path))
    search = MemberSearch(7, "no-such-cgroup")
    search.look()
    assert search.found == {7: {"listing"}}


def test_cgroups_that_are_too_many_are_counted_and_one_of_threads_hides_none(
    tmp_path: Path,
) -> None:
    for name, listed in (("", "7\n0\n"), ("a", "8\n"), ("a/b", "9\n")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cgroup.procs").write_text(listed)
    search = MemberSearch(7, "box")
    assert [*search._within(tmp_path)] == [7, 8, 9] and not search.unread
    few = MemberSearch(7, "box", max_groups=2)
    assert [*few._within(tmp_path)] == [7, 8] and few.unread == 1
    (tmp_path / "a/cgroup.procs").unlink()
    (tmp_path / "a/cgroup.procs").mkdir()
    assert [*search._within(tmp_path)] == [7, 9]


@root_only
def test_one_that_left_cgroup_and_parents_is_known_by_what_it_sees_mounted() -> None:
    script = "(sleep 1000 >&- 2>&- & echo $!); exec sleep 1000"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE
    ) as running:
        assert running.stdout
        orphan = int(running.stdout.readline())
        boundary, held = Boundary(running.pid), dict[int, bool]()
        boundary.groups.clear()
        for pid in (orphan, os.getpid()):
            with Process.open(pid) as process:
                held[pid] = boundary.holds(process)
        running.kill()
        os.kill(orphan, 9)
    assert held == {orphan: True, os.getpid(): False} and boundary.shares
