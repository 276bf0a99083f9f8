"""File systems that only a process keeps: archived from their top, or told with a reason."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from anyio import to_thread

from collector.files.keptmounts import incomplete, kept_folders, plan_kept
from collector.files.mounted import SeenMount
from collector.files.mountplan import MountOutcome, PlannedMount, State
from collector.files.mounttable import Mount
from collector.node.deletedfiles import SharedDescriptor
from collector.node.unlisted import KeptReference, UnlistedSearch
from tests.unit.collector.node.test_deletedfiles import holding
from tests.unit.collector.node.test_unlisted import PRIVATE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other users' processes")

AWAY = "assert not libc.umount2(folder.encode(), 2)"
BEGIN = f"{PRIVATE}private(); tmpfs(); os.makedirs(folder + '/in/deep')\n"


def kept(pid: int) -> list[KeptReference]:
    found = UnlistedSearch(time.monotonic() + 60)
    found.look([pid])
    return [each for each in found.kept.values() if each.how == "mount"]


async def test_a_directory_leads_to_the_top_of_its_file_system(tmp_path: Path) -> None:
    script = f"{BEGIN}os.chdir(folder + '/in/deep'); a = open(folder + '/secret'); {AWAY}"
    with holding(tmp_path, script) as pid:
        (each,) = await plan_kept(await to_thread.run_sync(kept, pid), [])
    assert each.path == b"/(kept)/%d/cwd" % pid and each.to_read and each.place
    assert (each.kind, incomplete(each)) == (b"tmpfs", None)
    top = Path(f"/proc/self/fd/{each.place.number}")
    assert {inner.name for inner in top.iterdir()} == {"in", "secret"}
    assert each.row()["device"] == each.device.decode() and each.row()["pid"] == pid


async def test_of_single_files_each_is_there_and_the_rest_is_told(tmp_path: Path) -> None:
    script = f"{BEGIN}open(folder + '/b', 'w').close()\n"
    script += f"a = open(folder + '/secret'); b = open(folder + '/b'); {AWAY}"
    with holding(tmp_path, script) as pid:
        found = await plan_kept(await to_thread.run_sync(kept, pid), [])
    assert len(found) == 2 and all(each.to_read for each in found)
    told = incomplete(found[0])
    assert told and told.state is State.PARTIAL and "not in sight" in told.message


async def test_one_that_is_in_sight_elsewhere_is_not_read_again(tmp_path: Path) -> None:
    with holding(tmp_path, f"{BEGIN}os.chdir(folder); {AWAY}") as pid:
        found = await to_thread.run_sync(kept, pid)
        (each,) = await plan_kept(found, [])
        mount = Mount(1, each.device, b"/", b"/x", b"tmpfs", b"", b"")
        seen = SeenMount(mount, pid, b"/x", b"")
        other = PlannedMount(b"/x", b"tmpfs", b"", MountOutcome(State.CAPTURED), seen=seen)
        (again,) = await plan_kept(found, [other])
        seen.mount = replace(mount, root=b"/part")
        (whole,) = await plan_kept(found, [other])
    assert (again.outcome.reason, again.to_read) == ("MountedTwice", False)
    assert whole.to_read


async def test_the_top_is_found_however_deep_a_process_stands(tmp_path: Path) -> None:
    script = """
os.chdir(folder)
for _ in range(4200):
    os.mkdir("d"); os.chdir("d")
"""
    with holding(tmp_path, f"{BEGIN}{script}{AWAY}") as pid:
        found = await to_thread.run_sync(kept, pid)
        (each,) = await plan_kept(found, [])
        top = Path(f"/proc/self/fd/{each.place.number}") if each.place else tmp_path
        assert "secret" in {inner.name for inner in top.iterdir()}


async def test_what_is_not_in_memory_or_gone_is_told(tmp_path: Path) -> None:
    place = SharedDescriptor(os.open(tmp_path, os.O_PATH))
    on_disk = KeptReference(
        "mount", b"/", 7, "cwd", held=SharedDescriptor(os.open("/proc", os.O_PATH)), folder=True
    )
    closed = KeptReference("mount", b"/", 7, "fd/1", held=place)
    number, place.number = place.number, 10**6
    lost = KeptReference("mount", b"/", 7, "fd/2")
    found = await plan_kept([on_disk, closed, lost], [])
    place.number = number
    assert [each.outcome.reason for each in found] == ["NotRequested", "Unreadable", "NotVisible"]
    assert not any(each.to_read or incomplete(each) for each in found)


@contextmanager
def silent(point: Path) -> Iterator[SharedDescriptor]:
    """Mount a file system that never answers, not even at first."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    assert not libc.mount(b"silent", os.fsencode(point), b"fuse", 0, options)
    try:
        yield SharedDescriptor(os.open(point, os.O_PATH | os.O_DIRECTORY))
    finally:
        subprocess.run(["umount", "-f", "-l", str(point)], check=False)
        os.close(device)


async def test_file_systems_that_do_not_answer(tmp_path: Path) -> None:
    with silent(tmp_path) as place:
        one = KeptReference("mount", b"/", 7, "cwd", held=place, folder=True)
        found = await plan_kept([one] * 5, [], seconds=0.2)
    assert [each.outcome.reason for each in found] == ["Hung"] * 3 + ["NotVisible"] * 2


def test_directories_that_lead_there() -> None:
    paths = [b"/tmp", b"/(kept)/7/cwd", b"/(kept)/7/task/8/fd/3", b"/(kept)/7/root/srv"]
    assert kept_folders(paths) == [
        *(b"/(kept)", b"/(kept)/7", b"/(kept)/7/task", b"/(kept)/7/task/8"),
        *(b"/(kept)/7/task/8/fd", b"/(kept)/7/root"),
    ]
