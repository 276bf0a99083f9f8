"""A process is described as /proc shows it."""

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.artifacts.processes import read_row
from collector.documents import document
from collector.node.process_row import (
    RowBudget,
    RowLimits,
    capabilities,
    describe,
    parse_status,
    summarise_maps,
)
from collector.node.procfs import HOST_PROC, Process, companions, pids


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with odd arguments, an odd environment, and a file open that is deleted."""
    script = "import sys; file = open('gone', 'w'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, b"\xff", "", "line\nbreak"],
        cwd=tmp_path,
        env={b"ODD": b"x=y", b"RAW": b"\xfe"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout
        running.stdout.readline()
        (tmp_path / "gone").unlink()
        yield running
        running.communicate()


def test_everything_about_a_process(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with Process.open(child.pid) as process:
        row = describe(process)
    assert row["pid"] == child.pid and row["ppid"] == os.getpid()
    assert row["nspid"][0] == child.pid
    assert row["cmdline"][3:] == [{"text": "\\xff", "base64": "/w=="}, "", "line\nbreak"]
    assert "ODD=x=y" in row["environ"]
    assert {"text": "RAW=\\xfe", "base64": "UkFXPf4="} in row["environ"]
    assert row["cwd"] == str(tmp_path) and row["root"] == "/"
    assert Path(row["exe"]) == Path(sys.executable).resolve()
    assert f"{tmp_path}/gone (deleted)" in [entry["target"] for entry in row["fds"]]
    assert row["fdsTotal"] == len(row["fds"])
    assert row["uid"] == [os.getuid()] * 4
    assert row["namespaces"]["net"] == str(Path("/proc/self/ns/net").readlink())
    assert row["threads"] == [child.pid]
    assert row["status"]["PPid"] == str(os.getpid())
    assert row["startTime"].endswith("+00:00") and row["startTicks"] > 0
    assert any(area["path"] == row["exe"] for area in row["maps"])
    assert "0" in row["uidMap"]


def test_a_zombie_has_neither_links_nor_a_map() -> None:
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        with Process.open(ended.pid) as process:
            row = describe(process)
    assert row["state"] == "Z"
    assert row["exe"] is None and row["cmdline"] == []


def test_a_process_that_ended_is_not_mixed_up_with_another() -> None:
    with subprocess.Popen(["true"]) as ended, Process.open(ended.pid) as process:
        ended.wait()
        with pytest.raises(OSError, match=r"No such process|No such file"):
            describe(process)


def test_many_open_files_are_counted_but_not_all_listed() -> None:
    with Process.open(os.getpid()) as process:
        row = describe(process, RowBudget(RowLimits(descriptors=2)))
    assert len(row["fds"]) <= 2 < row["fdsTotal"]


def test_capabilities_have_names_and_unknown_ones_numbers() -> None:
    assert capabilities("0000000000200001") == ["CHOWN", "SYS_ADMIN"]
    assert capabilities(f"{1 << 60 | 1 << 40:x}") == ["CHECKPOINT_RESTORE", "60"]
    assert capabilities("0000000000000000") == []


def test_maps_are_summed_up_by_file_and_permission() -> None:
    content = (
        b"1000-3000 r-xp 00000000 fe:00 42   /bin/odd name\n"
        b"5000-6000 r-xp 00002000 fe:00 42   /bin/odd name\n"
        b"7000-8000 rwxp 00000000 00:00 0 \n"
    )
    assert summarise_maps(content) == [
        {"path": "/bin/odd name", "permissions": "r-xp", "inode": 42, "areas": 2, "bytes": 0x3000},
        {"path": "", "permissions": "rwxp", "inode": 0, "areas": 1, "bytes": 0x1000},
    ]


def test_a_map_with_odd_names_and_one_that_was_cut() -> None:
    content = (
        b"1000-3000 r-xp 00000000 fe:00 42   /tmp/a\rb\xff\n"
        b"5000-6000 r--p 00002000 fe:00 43   /bin/sh\n"
        b"7000-8000 rwxp 000000"
    )
    odd, plain = summarise_maps(content)
    assert odd["path"] == {"text": "/tmp/a\rb\\xff", "base64": "L3RtcC9hDWL/"}
    assert plain["path"] == "/bin/sh"


def test_a_file_of_any_name_that_is_mapped(tmp_path: Path) -> None:
    odd = tmp_path / "a\rb"
    odd.write_bytes(bytes(4096))
    with (
        odd.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ),
        Process.open(os.getpid()) as process,
    ):
        row = describe(process)
    assert str(odd) in [area["path"] for area in row["maps"]]


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A /proc in which this process is number 7, in a cgroup whose name is no UTF-8."""
    folder = tmp_path / "7"
    folder.mkdir()
    for name in ("status", "comm", "stat"):
        (folder / name).write_bytes(Path(f"/proc/self/{name}").read_bytes())
    (folder / "cgroup").write_bytes(b"0::/kube/\xff\r0::/host\n")
    return tmp_path


def test_a_cgroup_of_any_name_can_be_stored(fake: Path) -> None:
    with Process.open(7, fake) as process:
        row = describe(process)
    assert json.loads(document(row))["cgroup"] == {
        "": {"text": "/kube/\\xff\r0::/host", "base64": "L2t1YmUv/w0wOjovaG9zdA=="}
    }


def test_a_name_cannot_forge_a_field(fake: Path) -> None:
    (fake / "7/status").write_bytes(b"Name:\ta\rNSpid:\t1\t2\nNSpid:\t7\n")
    with Process.open(7, fake) as process:
        assert not process.nested
        assert parse_status(process.read("status")) == {"Name": "a\rNSpid:\t1\t2", "NSpid": "7"}


def test_a_process_that_cannot_be_understood_costs_only_itself(
    fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fake / "7/stat").write_bytes(b"7 (x) S")
    monkeypatch.setenv(HOST_PROC, str(fake))
    assert read_row(7) == {"pid": 7, "unreadable": "IndexError: list index out of range"}
    assert read_row(8) is None


def test_a_file_of_proc_is_read_to_its_limit() -> None:
    with Process.open(os.getpid()) as process:
        assert process.read("status", 10) == process.read("status")[:10]


def test_this_process_is_among_all() -> None:
    assert os.getpid() in pids()


def test_a_first_process_that_moved_to_a_cgroup_of_its_own(tmp_path: Path) -> None:
    """As systemd does, and Docker in Docker; containers in the container belong to it as well."""
    box = "/kubepods/pod1/cri-4f2a.scope"
    for number, path in ((7, f"{box}/init"), (8, f"{box}/system/x"), (9, box), (10, "/kubepods")):
        (tmp_path / f"{number}/ns").mkdir(parents=True)
        (tmp_path / f"{number}/ns/pid").symlink_to("pid:[1]")
        (tmp_path / f"{number}/status").write_text("NSpid:\t7\n")
        (tmp_path / f"{number}/cgroup").write_text(f"0::{path}\n")
    assert companions(7, "4f2a", tmp_path) == [7, 8, 9]
    assert companions(7, "other", tmp_path) == [7]


def test_no_process_no_companions() -> None:
    with pytest.raises(FileNotFoundError):
        companions(2**22 + 1)
