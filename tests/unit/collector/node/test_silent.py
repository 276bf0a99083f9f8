"""Files of a file system that need never answer are passed over: waiting for it has no end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio import to_thread

from collector.files.deletedarchive import DeletedArchive
from collector.files.statx import statx
from collector.memory.files import MappedFiles
from collector.memory.mappings import mappings
from collector.node.deletedfiles import DeletedFileSearch
from collector.node.procfs import Process
from collector.node.programs import Programs
from collector.node.silent import WHY, is_silent
from tests.integration.collector.stuck import stuck
from tests.unit.collector.memory.subjects import Subject, subject

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "mount").mkdir()
    with stuck(tmp_path / "mount") as path:
        yield path


@pytest.fixture
def process(file: Path) -> Iterator[Subject]:
    """A process that has the file mapped as code, and open, after it was deleted."""
    script = f"""
file = os.open({str(file)!r}, os.O_RDONLY)
LIBC.mmap(None, 3 << 20, 5, 2, file, 0)
os.unlink({str(file)!r})
tell(1)
"""
    with subject(script) as found:
        yield found


def test_it_is_known_by_the_mounts_that_the_process_sees(process: Subject) -> None:
    with Process.open(process.pid) as found:
        for name, silent in (("exe", False), ("fd/3", True)):
            place = os.open(name, os.O_PATH, dir_fd=found.folder)
            major, minor = device = statx(place).device
            os.close(place)
            assert is_silent(found, device) is silent
            assert is_silent(found, b"%x:%x" % (major, minor)) is silent


def test_what_is_mapped_of_it_has_no_digest_and_the_rest_has(process: Subject, file: Path) -> None:
    rows = Programs().executables(process.pid, time.monotonic() + 60)
    digests = {Path(row["path"].removesuffix(" (deleted)")): row["sha256"] for row in rows}
    assert digests.pop(file) is None and digests and all(digests.values())
    files = MappedFiles()
    with Process.open(process.pid) as found:
        files.look(found, mappings(found).rows)
    assert files.rows and all(row["sha256"] for row in files.rows)


async def test_what_is_deleted_of_it_is_told_and_not_read(process: Subject) -> None:
    search = DeletedFileSearch(time.monotonic() + 60)
    await to_thread.run_sync(search.look, [process.pid])
    (deleted,) = (file for file in search.files.values() if file.place == "fd/3")
    archive = DeletedArchive(10**9)
    assert b"".join([block async for block in archive.blocks([deleted])]).strip(b"\0")
    assert {(loss.reason, loss.message) for loss in archive.losses.values()} == {("Hung", WHY)}
    assert await Programs().digest_held(deleted) == ""


async def test_no_path_is_followed_that_may_lead_there(file: Path, tmp_path: Path) -> None:
    """A file whose name only looks like that of a deleted one is taken for one."""
    named = tmp_path / "file (deleted)"
    named.write_bytes(b"there")
    search = DeletedFileSearch(time.monotonic() + 60)
    with subject(f"file = os.open({str(named)!r}, os.O_RDONLY)\ntell(1)") as process:
        await to_thread.run_sync(search.look, [process.pid])
    (found,) = (each for each in search.files.values() if each.place == "fd/3")
    assert found.path == os.fsencode(file.parents[1] / "file") and not found.silent
