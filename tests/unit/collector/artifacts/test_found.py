"""What a capture tells of processes that are hidden, and of what it could not look for."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import anyio

from collector.artifacts.found import MAX_HIDDEN_GAPS, FoundProcesses, search
from collector.artifacts.procarchive import store
from collector.container import ContainerCapture
from collector.node.abandonable import HangTimeouts
from collector.node.ancestry import Ancestry
from collector.node.covers import CoveringMount, CoveringMounts
from collector.node.members import MemberSearch
from collector.node.proctree import ProcTree
from collector.runtimes.runtime import ContainerInfo, Runtime, RuntimeProcesses
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.manifest import Flag, NotCaptured
from forensics_core.bundle.writer import BundleWriter
from forensics_core.errors import ContainerGone, SourceError
from forensics_core.storage.local import LocalStorage

CONTAINER = ContainerInfo("docker://4f2a", "web", "", "", "running", None, (), b"{}")


def capture_for(folder: Path, runtime: object = None) -> ContainerCapture:
    bundle = BundleWriter(LocalStorage(folder / "bundle"))
    deadline = anyio.current_time() + 3600
    return ContainerCapture(
        "web", CONTAINER, cast(Runtime, runtime), bundle, Compression.NONE, deadline
    )


def gaps(capture: ContainerCapture) -> dict[str, NotCaptured]:
    return {gap.what: gap for gap in capture.bundle.not_captured}


async def test_each_hidden_process_is_told_with_the_ways_it_was_found_by(tmp_path: Path) -> None:
    members = MemberSearch(7, "4f2a", found={7: {"listing"}, 8: {"cgroup", "number"}})
    members.hidden, members.covered = [8], [7]
    mounts = CoveringMounts([CoveringMount(b"/proc/3", b"tmpfs", b"none", 7, 3, 0)])
    found = FoundProcesses(members, Ancestry(7, parents={7: 1, 8: 7}), RuntimeProcesses(), mounts)
    capture = capture_for(tmp_path)
    found.account(capture)
    told = gaps(capture)
    assert told["hidden process 8"].pid == 8
    assert "cgroup, number" in told["hidden process 8"].message
    assert told["covered process 7"].reason == "Hidden"
    assert told["mount over /proc/3"].pid == 7 and "has ended" in told["mount over /proc/3"].message
    assert not any(gap.requested for gap in told.values())
    assert found.facts(8) == {
        "foundBy": ["cgroup", "number"],
        "entered": False,
        "hiddenBy": ["listing"],
    }


async def test_hidden_processes_without_a_gap_of_their_own_are_counted(tmp_path: Path) -> None:
    pids = range(1, MAX_HIDDEN_GAPS + 3)
    members = MemberSearch(1, "4f2a", found={pid: {"cgroup"} for pid in pids})
    members.hidden = [*pids]
    several = CoveringMounts(more=3, unseen=1)
    found = FoundProcesses(members, Ancestry(1), RuntimeProcesses(), several)
    capture = capture_for(tmp_path)
    found.account(capture)
    told = gaps(capture)
    assert told[f"hidden processes beyond {MAX_HIDDEN_GAPS}"].message.startswith("2 more")
    assert told["mounts over processes"].reason == "TooMany"


async def test_where_processes_were_not_looked_for_is_told(tmp_path: Path) -> None:
    members = MemberSearch(1, "4f2a", found={1: {"listing"}})
    members.unasked, members.unread, members.shares = 3, 1, True
    found = FoundProcesses(members, Ancestry(1), RuntimeProcesses())
    capture = capture_for(tmp_path)
    found.account(capture)
    told = gaps(capture)
    assert told["processes that are hidden"].reason == "TooMany"
    assert told["processes that left"].reason == "NotCertain"


class Silent:
    """A runtime that has lost its tongue, or the container."""

    def __init__(self, pid: int, error: Exception) -> None:
        self.pid = pid
        self.error = error

    async def inspect(self, container: ContainerInfo) -> ContainerInfo:
        return container

    async def process(self, _: ContainerInfo) -> int:
        return self.pid

    async def runtime_processes(self, _: ContainerInfo) -> RuntimeProcesses:
        raise self.error


async def test_a_runtime_that_does_not_tell_of_exec_sessions(tmp_path: Path) -> None:
    process = await anyio.open_process(["sleep", "1000"])
    async with process:
        capture = capture_for(tmp_path, Silent(process.pid, SourceError("It broke")))
        found = await search(capture)
        capture.runtime = cast(Runtime, Silent(process.pid, ContainerGone("It went")))
        again = await search(capture)
        process.kill()
    assert found and again and process.pid in found.members.found
    assert gaps(capture).keys() == {"exec sessions"}


class Crowded(Silent):
    """A runtime with more exec sessions than it tells."""

    async def runtime_processes(self, _: ContainerInfo) -> RuntimeProcesses:
        return RuntimeProcesses(omitted=3)


async def test_exec_sessions_that_the_runtime_does_not_tell_are_counted(tmp_path: Path) -> None:
    async with await anyio.open_process(["sleep", "1000"]) as process:
        capture = capture_for(tmp_path, Crowded(process.pid, SourceError("It did not")))
        assert await search(capture)
        process.kill()
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason) == ("exec sessions, the rest", "TooMany")
    assert gap.message.startswith("3 sessions") and not gap.requested


async def test_what_an_archive_of_proc_lacks_is_told(tmp_path: Path) -> None:
    capture, tree = capture_for(tmp_path), ProcTree()
    tree.refuse("io", PermissionError(13, "Permission denied"), "7")
    tree.refuse("stack", PermissionError(1, "Operation not permitted"), "7")
    tree.refuse("modules", PermissionError(13, "Permission denied"), "modules")
    tree.cut.add("/proc/7/maps")
    tree.crowded.add("/proc/7/fd")
    timeouts = HangTimeouts(60, 1, 60)
    await store(capture, tree, Ancestry(2**22 + 1), [2**22 + 1], timeouts)
    told = gaps(capture)
    assert told.keys() == {
        "proc.tar, files",
        "proc.tar, rest of files",
        "proc.tar, entries of folders",
    }
    assert told["proc.tar, files"].message == (
        "Of /proc/7, /proc/modules some files could not be read. "
        "Permission denied: io, modules; Operation not permitted: stack"
    )
    (archive,) = (a for a in capture.bundle.artifacts if a.name.endswith("/proc.tar"))
    assert archive.flags == (Flag.TRUNCATED,) and archive.kind is ArtifactKind.PROCESSES


async def test_a_flood_of_processes_is_bounded_and_told(tmp_path: Path) -> None:
    capture = capture_for(tmp_path)
    numbers = range(2**22 + 1, 2**22 + 4099)
    await store(capture, ProcTree(), Ancestry(2**22 + 1), numbers, HangTimeouts(60, 1, 60))
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason) == ("proc.tar, processes beyond 4096", "TooMany")
    assert gap.message.startswith("2 processes")
