"""Mounts as processes see them, opened one by one and by no other path than their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.files import mounted
from collector.files.mounted import (
    SeenMount,
    Survey,
    SurveyLimits,
    is_memory,
    measure,
    measure_all,
    open_mount,
    survey,
)
from collector.node.procfs import HOST_PROC

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@contextmanager
def apart(script: str) -> Iterator[int]:
    """Run a shell in a mount namespace of its own; yield its process once `script` is done."""
    command = ["unshare", "--mount", "--propagation=private", "sh", "-ec", f"{script}\necho; cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"\n"
            yield process.pid
        finally:
            process.kill()


def at(found: Survey, path: Path) -> list[SeenMount]:
    return [seen for seen in found.mounts if seen.path == os.fsencode(path)]


def test_a_namespace_that_is_a_copy_adds_what_is_new_in_it(tmp_path: Path) -> None:
    own = len(survey([os.getpid()], "").mounts)
    with apart(f"mount -t tmpfs none {tmp_path}") as pid:
        found = survey([os.getpid(), pid, pid], "")
    (new,) = at(found, tmp_path)
    assert new.pid == pid and len(found.mounts) == own + 1 and len(found.spaces) == 2


def test_another_containers_processes_are_left_out_and_those_that_left_the_cgroup_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = "1" * 64, "2" * 64
    for pid, cgroup in ((7, f"/pods/{first}"), (8, "/"), (9, f"/pods/cri-{other}.scope")):
        folder = tmp_path / str(pid)
        (folder / "ns").mkdir(parents=True)
        (folder / "ns/mnt").symlink_to(f"mnt:[{pid}]")
        (folder / "root").symlink_to("/")
        (folder / "status").write_text(f"Name:\tx\nTgid:\t{pid}\n")
        (folder / "cgroup").write_text(f"0::{cgroup}\n")
        (folder / "mountinfo").write_text(f"{pid} 1 0:5{pid} / / rw - tmpfs tmpfs rw\n")
    monkeypatch.setenv(HOST_PROC, str(tmp_path))
    assert sorted(survey([7, 8, 9], first).spaces.values()) == [7, 8]


def test_a_process_that_has_ended_has_no_mounts() -> None:
    """A container's short-lived children end while it is looked at."""
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as zombie:
        assert zombie.stdout and zombie.stdout.read() == b""
        # It closes its output before it has ended, and keeps its number until somebody waits.
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert survey([zombie.pid], "").unseen == 0
    assert survey([zombie.pid, 2**22 + 1], "").unseen == 0


def test_there_are_limits() -> None:
    found = survey([os.getpid(), 2**22 + 1], "", SurveyLimits(mounts=1))
    assert len(found.mounts) == 1 and found.more and not found.unseen
    assert survey([os.getpid()], "", SurveyLimits(table=10)).unseen == 1
    assert survey([os.getpid()], "", SurveyLimits(spaces=0)).unseen == 1


def test_a_mount_is_opened_by_itself(tmp_path: Path) -> None:
    with apart(f"mount -t tmpfs -o size=1m none {tmp_path}; echo x > {tmp_path}/x") as pid:
        (seen,) = at(survey([pid], ""), tmp_path)
        measure(seen)
        assert seen.size == 4096 and is_memory(seen) and not seen.is_file
        with open_mount(seen) as place:
            folder = os.open(f"/proc/self/fd/{place}", os.O_RDONLY)
        assert mounted.entries(folder, 10) == [b"x"]
        os.close(folder)


def test_a_mount_that_is_covered_is_opened_apart_and_one_that_is_gone_not(
    tmp_path: Path,
) -> None:
    below, gone = tmp_path / "below", tmp_path / "gone"
    below.mkdir()
    gone.mkdir()
    script = f"mount -t tmpfs a {below}; mount -t tmpfs b {below}; mount -t tmpfs c {gone}"
    with apart(script) as pid:
        found = survey([pid], "")
        measure_all(found.mounts)
        first, second = at(found, below)
        assert first.covered and not first.obstacle and not second.obstacle
        (seen,) = at(found, gone)
        nsenter = shutil.which("nsenter") or "nsenter"
        subprocess.run([nsenter, "-m", "-t", str(pid), "umount", str(gone)], check=True)
        with pytest.raises(FileNotFoundError, match="another mount"), open_mount(seen):
            pass


def test_a_link_in_place_of_a_mount_point_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "dir/t").mkdir(parents=True)
    (tmp_path / "evil").symlink_to("/etc")
    with apart(f"mount -t tmpfs a {tmp_path}/dir/t") as pid:
        (seen,) = at(survey([pid], ""), tmp_path / "dir/t")
        (tmp_path / "dir").rename(tmp_path / "moved")
        (tmp_path / "dir").mkdir()
        (tmp_path / "dir/t").symlink_to("/")
        with pytest.raises(OSError, match=r"another mount|symbolic links"), open_mount(seen):
            pass
