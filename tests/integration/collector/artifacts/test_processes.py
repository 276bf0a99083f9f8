"""Processes that hang, lie or flood cost themselves, and no others."""

from __future__ import annotations

import base64
import os
import shutil
import tarfile
from pathlib import Path
from typing import cast

import anyio
import pytest

from collector.artifacts import network, processes
from collector.container import ContainerCapture
from collector.documents import MAX_NAMES
from collector.files.safe_open import opened
from collector.node.abandonable import MAX_LEFT
from collector.node.process_row import MAX_STRINGS, RowLimits
from collector.node.procfs import HOST_PROC, MAX_BYTES
from collector.runtimes.runtime import ContainerInfo, Runtime, RuntimeProcesses
from forensics_core.api.order import Compression
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import BundleWriter
from forensics_core.storage.local import LocalStorage
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.folder_container import CONTAINER


class Numbered:
    """What the capture of processes asks of a runtime: the container's first process is 7."""

    async def inspect(self, container: ContainerInfo) -> ContainerInfo:
        return container

    async def process(self, container: ContainerInfo) -> int:
        return 7

    async def runtime_processes(self, container: ContainerInfo) -> RuntimeProcesses:
        return RuntimeProcesses()


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc with the processes 7, 8 and 9, all of one container."""
    for number in ("7", "8", "9"):
        folder = tmp_path / "proc" / number
        (folder / "ns").mkdir(parents=True)
        for name in ("status", "comm", "stat"):
            (folder / name).write_bytes(Path(f"/proc/self/{name}").read_bytes())
        status = (folder / "status").read_text()
        within = status.replace("\nNSpid:", f"\nNSpid:\t{number}", 1)
        (folder / "status").write_text(within)  # in a PID namespace of its own
        (folder / "cgroup").write_text("0::/kube/box\n")
        for name in ("pid", "net"):
            (folder / "ns" / name).symlink_to(f"{name}:[1]")
    monkeypatch.setenv(HOST_PROC, str(tmp_path / "proc"))
    return tmp_path / "proc"


def capture_for(bundle: Bundle, seconds: float = 3600) -> ContainerCapture:
    writer = BundleWriter(LocalStorage(bundle.folder))
    runtime = cast(Runtime, Numbered())
    deadline = anyio.current_time() + seconds
    return ContainerCapture("web", CONTAINER, runtime, writer, Compression.NONE, deadline)


def gaps(capture: ContainerCapture) -> dict[str, str]:
    return {gap.what: gap.reason for gap in capture.bundle.not_captured}


async def test_a_process_that_hangs(proc: Path, bundle: Bundle) -> None:
    """A FIFO that nobody writes to stands for a process whose memory is a stuck file system's."""
    for number in ("8", "9"):
        (proc / number / "comm").unlink()
        os.mkfifo(proc / number / "comm")
    capture = capture_for(bundle)
    await processes.collect(capture, processes.ProcessLimits(seconds=1.0, hanging=0.2))
    rows = bundle.json("containers/web/processes.json")["processes"]
    assert rows[0]["pid"] == 7 and rows[0]["status"]
    assert [(row["pid"], row["unreadable"]) for row in rows[1:]] == [(8, "Hung"), (9, "Hung")]
    assert gaps(capture) == {"processes.json, details": "Hung", "proc.tar, processes": "Hung"}
    for number in ("8", "9"):
        (proc / number / "comm").write_text("released\n")


async def test_processes_from_outside_past_the_limit_are_counted(
    proc: Path, bundle: Bundle
) -> None:
    capture = capture_for(bundle)
    await processes.collect(capture, processes.ProcessLimits(entered=1))
    assert gaps(capture)["execs.json, its rest"] == "TooMany"


async def test_a_process_whose_arguments_hang_keeps_all_else(proc: Path, bundle: Bundle) -> None:
    os.mkfifo(proc / "8/cmdline")
    (proc / "9/cmdline").write_bytes(b"after\0")
    capture = capture_for(bundle)
    await processes.collect(capture, processes.ProcessLimits(seconds=1.0))
    rows = bundle.json("containers/web/processes.json")["processes"]
    assert rows[1]["comm"] and rows[1]["status"] and rows[1]["namespaces"]["pid"] == "pid:[1]"
    assert rows[1]["hung"] == ["cmdline", "environ"] and rows[1]["cmdline"] is None
    assert rows[2]["cmdline"] == ["after"] and "hung" not in rows[2]
    with tarfile.open(bundle.folder / "containers/web/proc.tar") as archive:
        assert {"proc/8/status", "proc/8/task", "proc/9/cmdline"} <= {*archive.getnames()}
    assert gaps(capture) == {"processes.json, details": "Hung", "proc.tar, files": "Hung"}
    assert "8 (cmdline, environ)" in capture.bundle.not_captured[0].message
    (proc / "8/cmdline").write_bytes(b"released")


async def test_processes_that_hang_cost_nothing_but_processes(proc: Path, bundle: Bundle) -> None:
    """So many that no thread is left for another one."""
    hanging = [proc / str(number) for number in range(100, 100 + MAX_LEFT + 1)]
    for folder in hanging:
        shutil.copytree(proc / "8", folder, symlinks=True)
        (folder / "comm").unlink()
        os.mkfifo(folder / "comm")
    capture = capture_for(bundle)
    limits = processes.ProcessLimits(seconds=1.0, least=0.01, hanging=0.02)
    await processes.collect(capture, limits)
    assert f"and {MAX_LEFT + 1 - MAX_NAMES} more" in capture.bundle.not_captured[0].message
    await network.collect(capture)
    (row,) = bundle.json("containers/web/network.json")["namespaces"]
    assert len(row["pids"]) == 3 + len(hanging)
    for folder in hanging:
        # For reading, too: of most of them nobody waits for the other end.
        with opened(os.open(folder / "comm", os.O_RDWR)) as end:
            os.write(end, b"released\n")


async def test_a_process_that_makes_no_sense(proc: Path, bundle: Bundle) -> None:
    (proc / "8/stat").write_text("8 (x) S")
    (proc / "9/status").unlink()
    capture = capture_for(bundle)
    await processes.collect(capture)
    rows = bundle.json("containers/web/processes.json")["processes"]
    assert [row["pid"] for row in rows] == [7, 8] and "IndexError" in rows[1]["unreadable"]
    assert not capture.bundle.artifacts[0].flags


async def test_a_file_of_proc_that_floods(proc: Path, bundle: Bundle) -> None:
    (proc / "8/environ").write_bytes(b"x" * (MAX_BYTES + 1))
    capture = capture_for(bundle)
    await processes.collect(capture)
    row = bundle.json("containers/web/processes.json")["processes"][1]
    assert row["truncated"] == ["environ"]
    kept = base64.b64decode(row["environ"].pop("base64"))
    assert kept == b"x" * MAX_STRINGS
    assert row["environ"] == {"strings": 1, "truncated": True, "size": None}
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason) == ("processes.json, rest of files", "TooLarge")
    assert gap.pid == 8 and gap.requested and "/proc/8/environ" in gap.message
    assert capture.bundle.artifacts[0].flags == (Flag.TRUNCATED,)


async def test_a_table_of_sockets_that_floods(proc: Path, bundle: Bundle) -> None:
    (proc / "7/net").mkdir()
    (proc / "7/net/tcp").write_bytes(b"x\n" * (MAX_BYTES // 2) + b"y")
    capture = capture_for(bundle)
    await network.collect(capture)
    (row,) = bundle.json("containers/web/network.json")["namespaces"]
    assert row["truncated"] == ["net/tcp"] and row["pids"] == [7, 8, 9]
    assert gaps(capture) == {"network.json, its rest": "TooLarge"}


async def test_no_time_for_all_of_them(proc: Path, bundle: Bundle) -> None:
    capture = capture_for(bundle, seconds=0)
    await processes.collect(capture)
    assert bundle.json("containers/web/processes.json")["processes"] == []
    told = {"processes.json, 3 processes": "Deadline", "proc.tar, its rest": "Deadline"}
    assert gaps(capture) == told


async def test_after_many_megabytes_each_process_gets_a_little_and_is_told_as_cut(
    proc: Path, bundle: Bundle
) -> None:
    for number in ("7", "8", "9"):
        (proc / number / "cmdline").write_bytes(b"ab\0" * 20_000)
    capture = capture_for(bundle)
    await processes.collect(capture, processes.ProcessLimits(rows=RowLimits(letters=1, little=100)))
    rows = bundle.json("containers/web/processes.json")["processes"]
    assert [row["cmdline"]["strings"] for row in rows] == [20_000, 34, 34]
    assert [row.get("truncated") for row in rows] == [None, ["cmdline"], ["cmdline"]]
    assert gaps(capture) == {"processes.json, rest of files": "TooLarge"}


async def test_a_long_table_of_mounts_is_in_one_row_of_those_who_share_it(
    proc: Path, bundle: Bundle
) -> None:
    table = b"36 35 98:0 / /mnt rw - ext3 /dev/root rw\n" * 100_000
    for number in ("7", "8", "9"):
        (proc / number / "ns/mnt").symlink_to("mnt:[1]" if number != "9" else "mnt:[2]")
        (proc / number / "root").symlink_to("/")
        (proc / number / "mountinfo").write_bytes(table)
    await processes.collect(capture_for(bundle))
    rows = bundle.json("containers/web/processes.json")["processes"]
    assert [len(row["mountinfo"] or "") for row in rows] == [len(table), 0, len(table)]
    assert [row.get("mountinfoOf") for row in rows] == [None, 7, None]


async def test_huge_tables_of_sockets_are_bounded_together_and_told(
    proc: Path, bundle: Bundle
) -> None:
    line = "   0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0     0        0 12345 1 0\n"
    (proc / "7/net").mkdir()
    for name in ("tcp", "udp"):
        (proc / "7/net" / name).write_text("head\n" + line * 100)
    capture = capture_for(bundle)
    await network.collect(capture, network.NetworkLimits(tables=10_000, sockets=10))
    (row,) = bundle.json("containers/web/network.json")["namespaces"]
    assert len(row["sockets"]) == 10 and row["truncated"] == ["net/udp", "sockets"]
    assert sum(len(table) for table in row["raw"].values()) == 10_000
    assert gaps(capture) == {"network.json, its rest": "TooLarge"}


async def test_sockets_of_more_open_files_than_can_be_looked_at_are_told(
    proc: Path, bundle: Bundle
) -> None:
    (proc / "8/fd").mkdir()
    for number in range(5):
        (proc / "8/fd" / str(number)).symlink_to(f"socket:[{number}]")
    capture = capture_for(bundle)
    await network.collect(capture, network.NetworkLimits(links=2))
    (gap,) = capture.bundle.not_captured
    assert gap.what == "network.json, holders of sockets" and gap.message.endswith(": 8")


async def test_a_network_namespace_that_hangs_is_told_and_the_others_go_on(
    proc: Path, bundle: Bundle
) -> None:
    (proc / "9/ns/net").unlink()
    (proc / "9/ns/net").symlink_to("net:[2]")
    (proc / "7/net").mkdir()
    (proc / "9/net").mkdir()
    os.mkfifo(proc / "7/net/tcp")
    (proc / "9/net/arp").write_text("IP address\n")
    capture = capture_for(bundle)
    await network.collect(capture, network.NetworkLimits(seconds=0.3))
    (row,) = bundle.json("containers/web/network.json")["namespaces"]
    assert row["raw"] == {"arp": "IP address\n"}
    assert gaps(capture) == {"network.json, namespaces": "Hung"}
    (proc / "7/net/tcp").write_text("released\n")


async def test_no_time_for_network_namespaces(proc: Path, bundle: Bundle) -> None:
    capture = capture_for(bundle, seconds=0)
    await network.collect(capture)
    assert bundle.json("containers/web/network.json")["namespaces"] == []
    assert gaps(capture) == {"network.json, 1 namespaces": "Deadline"}


async def test_very_many_files_that_were_cut_are_counted(proc: Path, bundle: Bundle) -> None:
    stat = "9 (x) S " + " ".join(["0"] * 44) + f" 1000 {1000 + 9 * 2**20} 0 0 0"
    for number in ("7", "8", "9"):
        (proc / number / "stat").write_text(stat)
        (proc / number / "cmdline").write_bytes(b"x" * (MAX_STRINGS + 1))
    capture = capture_for(bundle)
    await processes.collect(capture, processes.ProcessLimits(cut=1))
    first, rest = capture.bundle.not_captured
    assert (first.pid, first.size) == (7, 9 * 2**20)
    assert rest.message.startswith("2 more files")
