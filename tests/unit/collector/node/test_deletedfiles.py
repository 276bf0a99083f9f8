"""Files without a name are found, whoever holds them how; others are left alone."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import anyio
import pytest
from anyio import to_thread

from collector.artifacts import deleted
from collector.artifacts.deleted import account
from collector.node import programs, sharedmemory
from collector.node.deletedfiles import DeletedFile, DeletedFileSearch
from collector.node.openfiles import open_files
from collector.node.procfs import LONG_PATH, Process
from collector.node.programs import Programs
from forensics_core.bundle.manifest import NotCaptured
from tests.integration.collector.artifacts.test_processes import capture_for
from tests.integration.collector.conftest import Bundle
from tests.unprivileged import SYS_ADMIN, SYS_PTRACE, without

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="of other users' processes")
pytestmark = root_only

BEGIN = """
import ctypes, mmap, os, signal, sys, time
folder = sys.argv[1]
def gone(name, data):
    file = open(f"{folder}/{name}", "w+b")
    file.write(data); file.flush(); os.unlink(file.name)
    return file
"""
END = "\nprint(os.getpid(), flush=True); time.sleep(1000)"


@contextmanager
def holding(folder: Path, script: str, *, program: str = sys.executable) -> Iterator[int]:
    """Run a Python script that holds something; yield its process."""
    command = [program, "-c", BEGIN + script + END, str(folder)]
    # What pytest catches goes to a deleted file, which a child would inherit.
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.kill()


def search(*pids: int) -> DeletedFileSearch:
    found = DeletedFileSearch(math.inf)
    found.look(pids)
    return found


def kinds(found: DeletedFileSearch) -> dict[tuple[str, str], DeletedFile]:
    return {(each.how, os.fsdecode(each.path)): each for each in found.files.values()}


def test_open_and_mapped_files_and_memory_without_a_name(tmp_path: Path) -> None:
    script = """
a = gone("open", b"x" * 100)
b = gone("mapped", b"y" * 5000)  # Python's own mmap would keep it open
ctypes.CDLL(None).mmap(None, ctypes.c_size_t(5000), 1, 2, b.fileno(), ctypes.c_long(0)); b.close()
d = os.memfd_create("loader"); os.write(d, b"abc")
e = open(f"{folder}/odd (deleted)", "w")
f = mmap.mmap(-1, 4096)
os.mkdir(f"{folder}/dir"); g = os.open(f"{folder}/dir", os.O_RDONLY); os.rmdir(f"{folder}/dir")
h = os.open(folder, os.O_TMPFILE | os.O_RDWR); os.write(h, b"12")
"""
    with holding(tmp_path, script) as pid:
        found = kinds(search(pid))
    unnamed = [key for key in found if key[0] == "deleted file" and "#" in key[1]]
    assert found.keys() - {*unnamed} == {
        ("deleted file", f"{tmp_path}/open"),
        ("deleted mapped file", f"{tmp_path}/mapped"),
        ("memfd", "/memfd:loader"),
    }
    assert len(unnamed) == 1 and found[unnamed[0]].size == 2
    assert found["deleted file", f"{tmp_path}/open"].size == 100
    assert found["deleted mapped file", f"{tmp_path}/mapped"].size == 5000


def test_a_file_that_many_hold_is_found_once(tmp_path: Path) -> None:
    held = 'a = gone("open", b"x"); b = os.dup(a.fileno()); c = mmap.mmap(b, 1)'
    script = f"{held}; os.fork() or signal.pause()"
    with holding(tmp_path, script) as pid:
        child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        found = search(pid, child)
    (each,) = found.files.values()
    assert (each.holders, each.pid) == (2, pid)
    os.kill(child, 9)


def test_a_program_that_never_had_a_file(tmp_path: Path) -> None:
    script = f"""
data = open({shutil.which("sleep")!r}, "rb").read()
d = os.memfd_create("loader"); os.write(d, data)
print(os.getpid(), flush=True); os.execve(d, ["sleep", "1000"], {{}})
"""
    with holding(tmp_path, script) as pid:
        until = time.monotonic() + 30
        while "memfd" not in str(Path(f"/proc/{pid}/exe").readlink()):
            assert time.monotonic() < until
        found = kinds(search(pid))
        digest = Programs().look(pid, until)
    assert found.keys() == {("memfd program", "/memfd:loader")}
    assert digest == hashlib.sha256(Path(str(shutil.which("sleep"))).read_bytes()).hexdigest()


def test_there_are_limits(tmp_path: Path) -> None:
    script = 'a = [gone(str(n), b"x") for n in range(5)]'
    with holding(tmp_path, script) as pid:
        found = DeletedFileSearch(math.inf, max_files=3)
        found.look([pid])
        assert (len(found.files), found.more) == (3, 2)
        few = DeletedFileSearch(math.inf, links=2)
        few.look([pid, pid])
        assert few.unseen == [pid, pid] and not few.links
        late = DeletedFileSearch(time.monotonic() - 1)
        late.look([pid])
        assert late.unseen == [pid] and not late.files
        cut = DeletedFileSearch(math.inf, max_maps=100)
        cut.look([pid])
        assert cut.unseen == [pid]
        # As if all descriptors but a few were in use: what is read meanwhile needs those.
        none = DeletedFileSearch(math.inf, spare=resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        none.look([pid])
        assert (len(none.files), none.more) == (0, 5)


def test_a_process_that_has_ended_holds_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    found = search(process.pid)
    assert not found.files and not found.unseen


def test_a_process_that_may_not_be_looked_at_is_said(tmp_path: Path) -> None:
    with holding(tmp_path, "") as pid:
        assert without(SYS_PTRACE, action=lambda: search(pid)).unseen == [pid]


SEGMENT = """
ctypes.CDLL(None).unshare(0x08000000)
number = ctypes.CDLL(None).shmget(0xCAFE, 8192, 0o1600)
"""


def test_system_v_shared_memory_without_any_process_attached(tmp_path: Path) -> None:
    with holding(tmp_path, SEGMENT) as pid:
        (segment,) = sharedmemory.segments([pid, os.getpid()])
        assert isinstance(segment, sharedmemory.SharedSegment)
    assert (segment.key, segment.size, segment.attached) == (0xCAFE, 8192, 0)
    assert sharedmemory.segments([pid, os.getpid()]) == []


async def gaps_of(
    tmp_path: Path, script: str, limits: deleted.DeletedLimits = deleted.LIMITS
) -> list[NotCaptured]:
    capture = capture_for(Bundle(tmp_path / "bundle"))
    with holding(tmp_path, script) as pid:
        await account(capture, [pid], Programs(), limits)
    return list(capture.bundle.not_captured)


async def test_each_file_and_segment_is_a_gap(tmp_path: Path) -> None:
    script = SEGMENT + 'a = gone("open\\x1b\\udcff", b"x" * 7)'
    segment, file = await gaps_of(tmp_path, script)
    assert (file.size, file.reason, file.requested) == (7, "Deleted", False)
    assert file.path and file.path.endswith("\\xff") and file.pid
    assert (segment.path, segment.size) == ("/SYSV0000cafe", 8192)


async def test_very_many_files_are_listed_to_a_limit(tmp_path: Path) -> None:
    script = 'a = [gone(str(n), b"xy") for n in range(6)]'
    gaps = await gaps_of(tmp_path, script, deleted.DeletedLimits(files=4, gaps=2))
    assert len(gaps) == 4 and gaps[-2].size == 4 and "2 further files" in gaps[-2].message
    assert gaps[-1].reason == "TooMany" and "2 times" in gaps[-1].message


async def test_what_was_not_looked_at_is_a_gap(tmp_path: Path) -> None:
    (gap,) = await gaps_of(tmp_path, "", deleted.DeletedLimits(links=0))
    assert gap.what == "deleted files, of some processes"


async def test_a_search_that_hangs_or_fails_is_a_gap(tmp_path: Path) -> None:
    (gap,) = await gaps_of(tmp_path, "", deleted.DeletedLimits(seconds=0))
    assert (gap.what, gap.reason, gap.requested) == ("deleted files", "Hung", False)
    capture = capture_for(Bundle(tmp_path / "2"))
    # What is no number stands for whatever nobody has foreseen.
    await account(capture, [cast(int, "\0")], Programs())
    assert [each.reason for each in capture.bundle.not_captured] == ["Unexpected"]


def test_shared_memory_that_may_not_be_entered_is_no_failure(tmp_path: Path) -> None:
    (gap,) = without(SYS_ADMIN, action=lambda: anyio.run(gaps_of, tmp_path, SEGMENT))
    assert (gap.what, gap.reason) == ("shared memory", "NotPermitted")


async def test_programs_are_hashed_once_and_within_a_budget() -> None:
    known = Programs()
    digest = await known.digest(os.getpid())
    left = known.left
    assert digest == await known.digest(os.getpid()) and known.left == left < programs.MAX_TOTAL
    assert await known.digest(2) == "" and not known.skipped  # a thread of the kernel
    small = Programs(left=1000)
    assert await small.digest(os.getpid()) == "" and small.skipped == 1
    late = Programs(seconds=0)
    assert await late.digest(os.getpid()) == "" and late.skipped == 1
    late_look = to_thread.run_sync(Programs().look, os.getpid(), time.monotonic() - 1)
    assert await late_look == ""


def test_a_search_without_any_descriptor_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, code = os.open, errno.EMFILE

    def refuse(path: str, flags: int, **more: int) -> int:
        if flags & os.O_PATH and str(path).startswith("fd/"):
            raise OSError(code, os.strerror(code))
        return real(path, flags, **more)

    with holding(tmp_path, 'a = gone("open", b"x")') as pid:
        monkeypatch.setattr(os, "open", refuse)
        found = search(pid)
        assert (len(found.files), found.more, found.unseen) == (0, 1, [])
        code = errno.EACCES
        assert search(pid).unseen == [pid]


async def test_libraries_are_found_by_path_where_the_kernel_does_not_open_mappings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = os.open

    def refuse(path: bytes | str, flags: int, **more: int) -> int:
        if isinstance(path, bytes) and path.startswith(b"map_files/"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return real(path, flags, **more)

    library = next(Path("/lib").glob("*/libz.so.1*")).read_bytes()
    for name in ("same.so", "other.so"):
        (tmp_path / name).write_bytes(library)
    script = """
for name in ("same", "other"): ctypes.CDLL(f"{folder}/{name}.so")
os.rename(f"{folder}/other.so", f"{folder}/was"); open(f"{folder}/other.so", "w").close()
"""
    with holding(tmp_path, script) as pid:
        monkeypatch.setattr(os, "open", refuse)
        known = Programs()
        found = (await known.describe(pid))["executables"]
        few = (await Programs(listed=1).describe(pid))["executables"]
    digests = {each["path"].rpartition("/")[2]: each["sha256"] for each in found}
    assert digests["same.so"] == hashlib.sha256(library).hexdigest()
    assert digests["was"] == digests["same.so"] and len(few) == 1


async def test_a_file_that_is_not_held_any_more_has_no_digest(tmp_path: Path) -> None:
    with holding(tmp_path, 'a = gone("open", b"x")') as pid:
        (file,) = (await to_thread.run_sync(search, pid)).files.values()
        assert await Programs().digest_held(file) == hashlib.sha256(b"x").hexdigest()
        file.file = None
        assert await Programs().digest_held(file) == ""


DEEP = """
home = os.open(".", os.O_RDONLY)
os.chdir(folder)
for _ in range(25):
    os.mkdir("d" * 200); os.chdir("d" * 200)
deep = open("deep", "w+b"); deep.write(b"deep"); deep.flush(); os.unlink("deep")
named = open("named", "w+b")
"""


def test_a_path_that_is_too_long_to_be_told_keeps_nothing_from_being_found(tmp_path: Path) -> None:
    """The kernel tells no link of more than 4,095 bytes: one such must not end the search."""
    script = DEEP + 'os.fchdir(home); after = gone("after", b"behind it")'
    with holding(tmp_path, script) as pid:
        found = kinds(search(pid))
        with Process.open(pid) as process:
            rows = open_files(process, {}, 100)
    assert {path for _, path in found} == {os.fsdecode(LONG_PATH), f"{tmp_path}/after"}
    assert found["deleted file", os.fsdecode(LONG_PATH)].size == 4
    assert [row["target"] for row in rows].count(os.fsdecode(LONG_PATH)) == 2
    shutil.rmtree(tmp_path / ("d" * 200))
