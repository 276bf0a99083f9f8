"""A tree like /proc is made of what is known of processes, and of what they still say."""

import errno
import io
import os
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from collector.artifacts.processes import read_row
from collector.files import pax
from collector.node.process_row import RowBudget
from collector.node.procfs import HOST_PROC
from collector.node.proctop import top
from collector.node.proctree import ProcTree


def opened(blocks: Iterable[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(blocks) + pax.END))


def content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file
    return file.read()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"], env={"WORD": "x"}) as running:
        yield running
        running.kill()


def test_a_process_is_there_as_proc_has_it(child: subprocess.Popen[bytes]) -> None:
    tree, pid = ProcTree(), child.pid
    with opened(tree.process(pid)) as tar:
        names = set(tar.getnames())
        assert content(tar, f"proc/{pid}/cmdline") == b"sleep\x001000\x00"
        assert content(tar, f"proc/{pid}/environ") == b"WORD=x\0"
        assert content(tar, f"proc/{pid}/task/{pid}/comm") == b"sleep\n"
        assert tar.getmember(f"proc/{pid}/ns/net").linkname.startswith("net:[")
        assert tar.getmember(f"proc/{pid}").isdir()
    wanted = [
        "maps",
        "mountinfo",
        "limits",
        "io",
        "cgroup",
        "wchan",
        "syscall",
        "loginuid",
        "oom_score_adj",
        "net/tcp",
    ]
    assert {f"proc/{pid}/{name}" for name in wanted} <= names
    assert {f"proc/{pid}/fd/0", f"proc/{pid}/fdinfo/0"} <= names
    assert not tree.cut.total and not tree.crowded.total and not tree.refused


def test_one_that_has_ended_is_there_as_far_as_it_was_read(
    child: subprocess.Popen[bytes],
) -> None:
    room = RowBudget()
    assert read_row(child.pid, room)
    child.kill()
    child.wait()
    tree = ProcTree(room.contents)
    with opened(tree.process(child.pid)) as tar:
        assert content(tar, f"proc/{child.pid}/environ") == b"WORD=x\0"
        assert f"proc/{child.pid}/wchan" not in tar.getnames()
    assert [*ProcTree().process(child.pid)] == []
    assert [*ProcTree().ancestor(child.pid)] == []


def test_another_process_of_the_same_number_is_not_mixed_in(
    child: subprocess.Popen[bytes],
) -> None:
    stat = b"7 (x) S " + b"0 " * 30
    known = {child.pid: {"stat": stat, "comm": b"other\n"}}
    with opened(ProcTree(known).process(child.pid)) as tar:
        assert content(tar, f"proc/{child.pid}/comm") == b"other\n"
        assert f"proc/{child.pid}/environ" not in tar.getnames()
    with opened(ProcTree({child.pid: {"stat": b"odd"}}).process(child.pid)) as tar:
        assert f"proc/{child.pid}/environ" not in tar.getnames()
    with opened(ProcTree({child.pid: {"comm": b"x\n"}}).process(child.pid)) as tar:
        assert content(tar, f"proc/{child.pid}/environ") == b"WORD=x\0"


def test_an_ancestor_has_no_environment(child: subprocess.Popen[bytes]) -> None:
    with opened(ProcTree().ancestor(child.pid)) as tar:
        assert content(tar, f"proc/{child.pid}/environ") == b""
        assert content(tar, f"proc/{child.pid}/cmdline") == b"sleep\x001000\x00"
        assert f"proc/{child.pid}/maps" not in tar.getnames()


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc with one process, of many threads and open files."""
    for name in ("fd", "fdinfo", "task", "net", "ns"):
        (tmp_path / "7" / name).mkdir(parents=True)
    for number in range(5):
        (tmp_path / f"7/fd/{number}").symlink_to("/x")
        (tmp_path / f"7/fdinfo/{number}").write_text("pos:\t0\n")
        (tmp_path / f"7/task/{number + 7}").mkdir()
    (tmp_path / "7/ns/net").symlink_to("net:[1]")
    (tmp_path / "7/net/tcp").write_text("head\n")
    (tmp_path / "7/net/folder").mkdir()
    (tmp_path / "7/status").write_text("Name:\tx\n")
    monkeypatch.setenv(HOST_PROC, str(tmp_path))
    return tmp_path


def test_threads_and_open_files_are_bounded_and_told(proc: Path) -> None:
    tree = ProcTree(entries=7, threads=3)
    with opened(tree.process(7)) as tar:
        names = tar.getnames()
    assert sum(name.startswith("proc/7/fd/") for name in names) == 5
    assert sum(name.startswith("proc/7/task/") for name in names) == 2
    assert tree.crowded.first == ["/proc/7/task"]
    known = {7: {f"fd/{number}": b"/x" for number in range(5)}}
    tree = ProcTree(known, entries=2)
    assert b"".join(tree.process(7))
    assert tree.crowded.first == ["/proc/7/fd", "/proc/7/task"]


def test_long_files_are_cut_and_told(proc: Path) -> None:
    (proc / "7/maps").write_bytes(b"x" * 100)
    tree = ProcTree(left=0, little=10)
    with opened(tree.process(7)) as tar:
        assert content(tar, "proc/7/maps") == b"x" * 10
    assert tree.cut.first == ["/proc/7/maps"]


def test_those_of_one_network_have_its_tables_once(proc: Path) -> None:
    tree = ProcTree()
    with opened([*tree.process(7), *tree.process(7)]) as tar:
        members = tar.getmembers()
    assert [each.linkname for each in members if each.name == "proc/7/net"] == ["", "../7/net"]
    assert "proc/7/net/folder" not in [each.name for each in members]


def test_what_may_not_be_read_is_told_by_its_sort() -> None:
    tree = ProcTree()
    tree.refuse("fdinfo/12", PermissionError(errno.EACCES, "Permission denied"), "7")
    tree.refuse("fdinfo/13", PermissionError(errno.EACCES, "Permission denied"), "7")
    tree.refuse("stack", FileNotFoundError(errno.ENOENT, "No such file"), "7")
    assert tree.refused == {"Permission denied": {"fdinfo/N": None}}
    assert tree.refusing.first == ["/proc/7"]


def test_a_link_to_a_name_of_any_length_and_bytes() -> None:
    target = b"/" + b"d\xff" * 400
    with opened([ProcTree().link("7/cwd", target, (4_000_000_000, 5))]) as tar:
        (member,) = tar.getmembers()
    assert os.fsencode(member.linkname) == target and member.uid == 4_000_000_000


def test_the_machines_own_files() -> None:
    tree = ProcTree()
    with opened(top(tree, os.getpid())) as tar:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        assert content(tar, "proc/sys/kernel/random/boot_id") == boot
        assert content(tar, "proc/sys/kernel/hostname").decode().strip() == os.uname().nodename
        assert b"btime" in content(tar, "proc/stat")
        assert tar.getmember("proc/self").linkname == str(os.getpid())
    assert not tree.refused


def test_a_proc_without_any_of_them(proc: Path) -> None:
    tree = ProcTree()
    with opened(top(tree, 7)) as tar:
        assert "proc/uptime" not in tar.getnames() and "proc/self" in tar.getnames()
    (proc / "uptime").mkdir()
    assert b"".join(top(tree, 7)) and not tree.refused
