"""A process is described as /proc shows it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.artifacts import process as process_module
from collector.artifacts.process import capabilities, describe, summarise_maps
from collector.procfs import Process, companions, pids


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


def test_many_open_files_are_counted_but_not_all_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "MAX_DESCRIPTORS", 2)
    with Process.open(os.getpid()) as process:
        row = describe(process)
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


def test_a_file_of_proc_is_read_to_its_limit() -> None:
    with Process.open(os.getpid()) as process:
        assert process.read("status", 10) == process.read("status")[:10]


def test_this_process_is_among_all() -> None:
    assert os.getpid() in pids()


def test_no_process_no_companions() -> None:
    with pytest.raises(FileNotFoundError):
        companions(2**22 + 1)
