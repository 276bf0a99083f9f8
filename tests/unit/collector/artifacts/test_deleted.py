"""What processes hold without a name is archived once, byte for byte, whatever becomes of it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from collector.artifacts import deleted
from collector.container import ContainerCapture
from collector.files.deletedarchive import DeletedArchive
from collector.files.statx import statx
from collector.node.deletedfiles import DeletedFile, SharedDescriptor
from collector.node.programs import Programs
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import BundleWriter
from forensics_core.errors import UsageError
from forensics_core.storage.local import LocalStorage
from forensics_core.storage.objects import ObjectWriter
from tests.integration.collector.artifacts.test_processes import capture_for
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.stuck import ANSWERED, SIZE, stuck
from tests.unit.collector.node.test_deletedfiles import SEGMENT, holding

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other users' processes")

ATTACHED = (
    SEGMENT
    + """
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
address = libc.shmat(number, None, 0)
ctypes.memmove(address + 4096, b"loot", 4)
"""
)


def capturing(folder: Path, budget: int = 1024**3) -> ContainerCapture:
    capture = capture_for(Bundle(folder))
    return replace(capture, wanted=frozenset({ArtifactKind.PROCESSES}), deleted_budget=budget)


class Evidence:
    """What one capture of deleted files left."""

    def __init__(self, folder: Path, capture: ContainerCapture) -> None:
        self.gaps = list(capture.bundle.not_captured)
        self.artifacts = {each.name: each for each in capture.bundle.artifacts}
        file = folder / "containers/web/deleted.tar"
        self.tar = file.read_bytes() if file.exists() else b""
        self.rows: dict[str, dict[str, Any]] = {}
        if self.tar:
            packed = (folder / "containers/web/deleted.index.jsonl.zst").read_bytes()
            plain = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True)
            rows = map(json.loads, plain.stdout.splitlines())
            self.rows = {row["path"][1:]: row for row in rows if row["type"] == "file"}

    @property
    def content(self) -> dict[str, bytes]:
        """What each member holds."""
        return extracted(self.tar or bytes(1024))

    def only(self) -> tuple[str, bytes, dict[str, Any]]:
        """Return the one member: its name, its bytes, and its row."""
        ((name, data),) = self.content.items()
        return name, data, self.rows[name]


async def bring_home(
    folder: Path,
    pids: Sequence[int],
    *,
    budget: int = 1024**3,
    ended: Sequence[int] = (),
    limits: deleted.DeletedLimits = deleted.LIMITS,
) -> Evidence:
    """Capture what `pids` hold, after those of `ended` were killed in between."""
    capture = capturing(folder, budget)
    await deleted.account(capture, pids, Programs(), limits)
    for pid in ended:
        os.kill(pid, signal.SIGKILL)
        with anyio.fail_after(30):
            while not _is_dead(pid):
                await anyio.lowlevel.checkpoint()
    await deleted.store(capture)
    return Evidence(folder, capture)


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_a_program_that_never_had_a_file(tmp_path: Path) -> None:
    program = Path(str(shutil.which("sleep"))).read_bytes()
    script = f"""
data = open({shutil.which("sleep")!r}, "rb").read()
d = os.memfd_create("loader"); os.write(d, data)
if os.fork() == 0: os.execve(d, ["sleep", "1000"], {{}})
"""
    with holding(tmp_path, script) as pid:
        child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        with anyio.fail_after(30):
            while "memfd" not in str(Path(f"/proc/{child}/exe").readlink()):
                await anyio.lowlevel.checkpoint()
        found = await bring_home(tmp_path / "bundle", [child, pid])
        os.kill(child, signal.SIGKILL)
    name, data, row = found.only()
    assert (name, data, row["deleted"]["how"]) == (f"{child}/exe", program, "memfd program")
    assert row["deleted"]["originalPath"] == "/memfd:loader"
    # It was closed when it began to run, and the other process has it open.
    places = {(hold["pid"], hold["place"].split("/")[0]) for hold in row["deleted"]["holders"]}
    assert places == {(child, "exe"), (pid, "fd")}
    assert row["deleted"]["holdersTotal"] == 2 and not found.gaps


async def test_a_library_that_is_mapped_and_deleted(tmp_path: Path) -> None:
    library = next(Path("/lib").glob("*/libz.so.1*")).read_bytes()
    (tmp_path / "evil.so").write_bytes(library + b"evil")
    script = 'ctypes.CDLL(f"{folder}/evil.so"); os.unlink(f"{folder}/evil.so")'
    with holding(tmp_path, script) as pid:
        found = await bring_home(tmp_path / "bundle", [pid])
        code = await Programs().describe(pid)
    name, data, row = found.only()
    assert name.startswith(f"{pid}/map_files/") and data == library + b"evil"
    assert row["deleted"]["how"] == "deleted mapped file"
    (mapped,) = (each for each in code["executables"] if "evil.so" in each["path"])
    assert mapped["sha256"] == row["sha256"]


async def test_shared_memory_attached_or_not(tmp_path: Path) -> None:
    with holding(tmp_path, ATTACHED) as attached, holding(tmp_path, ATTACHED + """
libc.shmdt.argtypes = [ctypes.c_void_p]; libc.shmdt(address)
other = libc.shmget(0xBEEF, ctypes.c_size_t(1 << 40), 0o11600)  # without reserving any
""") as other:  # fmt: skip
        found = await bring_home(tmp_path / "bundle", [attached, other])
    assert not found.gaps and len(found.rows) == 3
    content = bytes(4096) + b"loot" + bytes(4092)
    facts = {name: row["deleted"] for name, row in found.rows.items()}
    (mapped,) = (name for name in found.content if name.startswith(f"{attached}/map_files/"))
    assert found.content[mapped] == content and facts[mapped]["attachedBy"] == 1
    # The number is the same in both namespaces, and these are two segments.
    alone = f"{other}/sysvipc/{facts[mapped]['segment']}"
    assert found.content[alone] == content and facts[alone]["attachedBy"] == 0
    assert facts[alone]["originalPath"] == "/SYSV0000cafe" and facts[alone]["mode"] == "0600"
    # A terabyte without anything in it costs nothing.
    (huge,) = (row for name, row in found.rows.items() if name not in {mapped, alone})
    assert huge["size"] == 1 << 40 and len(found.tar) < 100_000


async def test_files_outlive_their_process_once_they_were_found(tmp_path: Path) -> None:
    with holding(tmp_path, 'a = gone("open", b"x" * 70000); a.seek(5)') as pid:
        found = await bring_home(tmp_path / "bundle", [pid], ended=[pid])
    _, data, row = found.only()
    (hold,) = row["deleted"]["holders"]
    assert data == b"x" * 70000 and hold["position"] == 5 and hold["flags"].endswith("2")


async def test_a_sparse_file_stays_sparse_and_odd_names_are_kept(tmp_path: Path) -> None:
    script = r"""
a = gone("odd\x1b\n\udcff (deleted)", b"begin"); a.truncate(1 << 33)
os.pwrite(a.fileno(), b"end", (1 << 33) - 3); os.utime(a.fileno(), ns=(1, 1_500_000_000))
os.setxattr(a.fileno(), "user.a", b"b")
"""
    with holding(tmp_path, script) as pid:
        capture = capturing(tmp_path / "bundle")
        await deleted.account(capture, [pid], Programs())
        await deleted.store(capture)
    plain = (tmp_path / "bundle/containers/web/deleted.tar").read_bytes()
    assert len(plain) < 100_000
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        (member,) = filter(tarfile.TarInfo.isreg, archive.getmembers())
        data = archive.extractfile(member)
        assert data and member.size == 1 << 33 and member.mtime == 1.5
        data.seek((1 << 33) - 3)
        assert data.read() == b"end"
        told = json.loads(member.pax_headers["comment"])
    assert told["originalPath"]["text"].endswith("odd\x1b\n\\xff (deleted)")
    listed = await anyio.run_process(["tar", "-tvf", "-"], input=plain)
    assert listed.stderr == b"" and b" 8589934592 " in listed.stdout
    assert not capture.bundle.not_captured


@pytest.mark.parametrize(("size", "told"), [(10, "shorter"), (300_000, "grew"), (200_000, "to")])
async def test_a_file_that_grows_or_shrinks_is_cut_or_padded_and_flagged(
    tmp_path: Path, size: int, told: str
) -> None:
    file = unnamed(tmp_path, b"x" * 200_000)
    assert file.file
    path, archive, data = Path(f"/proc/self/fd/{file.file.number}"), DeletedArchive(10**9), b""
    archive.small = 0  # the file is not read in the step that opens it
    async for block in archive.blocks([file]):
        if b" comment=" in block:  # its header: what follows is read by and by
            path.write_bytes(b"y" * size)
        data += block
    assert list(extracted(data).values()) == [(b"y" * min(size, 200_000)).ljust(200_000, b"\0")]
    assert archive.notes.flags == {Flag.CHANGED_WHILE_READ}
    assert told in archive.notes.remarks[0].message and not archive.losses


async def test_the_smallest_come_first_and_what_is_over_is_hashed(tmp_path: Path) -> None:
    script = "a = [gone(str(n), bytes([n]) * n * 10000) for n in (5, 1, 3)]"
    with holding(tmp_path, script) as pid:
        found = await bring_home(tmp_path / "bundle", [pid], budget=70_000)
    assert [len(data) for data in found.content.values()] == [10_000, 30_000]
    (gap,) = found.gaps
    assert (gap.reason, gap.size, gap.pid) == ("TooLarge", 50_000, pid) and gap.sha256
    assert "takes 70000 bytes at most" in gap.message


async def test_a_file_that_outgrows_the_budget_before_it_is_read(tmp_path: Path) -> None:
    with holding(tmp_path, 'a = gone("open", b"x")') as pid:
        capture = capturing(tmp_path / "bundle", budget=5000)
        await deleted.account(capture, [pid], Programs())
        plan = capture.held.deleted
        assert plan and plan.archived[0].file
        Path(f"/proc/self/fd/{plan.archived[0].file.number}").write_bytes(b"y" * 6000)
        await deleted.store(capture)
    found = Evidence(tmp_path / "bundle", capture)
    (gap,) = found.gaps
    assert gap.reason == "TooLarge" and "6000 bytes" in gap.message and not found.content


async def test_files_for_which_there_was_no_time_are_gaps(tmp_path: Path) -> None:
    with holding(tmp_path, 'a = gone("open", b"x")') as pid:
        capture = replace(capturing(tmp_path / "bundle"), deadline=anyio.current_time() - 1)
        await deleted.account(capture, [pid], Programs())
        await deleted.store(capture)
    found = {gap.what: gap.reason for gap in capture.bundle.not_captured}
    assert found == {
        "deleted.tar, its rest": "Deadline",
        f"deleted file {tmp_path}/open": "Deadline",
    }


def unnamed(folder: Path, content: bytes) -> DeletedFile:
    """Return a deleted file of this process."""
    (folder / "x").write_bytes(content)
    return held(folder / "x")


def held(path: Path) -> DeletedFile:
    """Delete a file, and hold it."""
    file = SharedDescriptor(os.open(path, os.O_PATH))
    path.unlink()
    found, place = statx(file.number), f"fd/{file.number}"
    return DeletedFile("deleted file", os.fsencode(path), os.getpid(), place, found, file)


def extracted(data: bytes) -> dict[str, bytes]:
    """Return the files in a plain archive."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in filter(tarfile.TarInfo.isreg, archive.getmembers()):
            if member.size > 1 << 30:
                continue  # nothing but a hole
            content = archive.extractfile(member)
            assert content
            found[member.name.removeprefix("./")] = content.read()
    return found


async def test_a_file_system_that_stops_answering_costs_only_what_is_on_it(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    with stuck(tmp_path / "mount") as path:
        first, again = held(path), held(path)
        before, after = unnamed(tmp_path, b"before"), unnamed(tmp_path, b"after")
        archive = DeletedArchive(10**9, seconds=0.5)
        blocks = [block async for block in archive.blocks([before, first, again, after])]
    content = extracted(b"".join(blocks))
    assert content == {
        before.member: b"before",
        first.member: (b"x" * ANSWERED).ljust(SIZE, b"\0"),
        after.member: b"after",
    }
    assert {name: loss.reason for name, loss in archive.losses.items()} == {
        first.member: "Hung",
        again.member: "Hung",  # it is not even touched
    }
    assert archive.notes.flags == {Flag.TRUNCATED}
    assert archive.notes.remarks[0].message.startswith(f"zeros from byte {ANSWERED} on")


async def test_a_file_that_cannot_be_opened_is_a_loss(tmp_path: Path) -> None:
    gone = unnamed(tmp_path, b"x")
    gone.file = None
    folder = unnamed(tmp_path, b"x")
    folder.file = SharedDescriptor(os.open(tmp_path, os.O_PATH))
    archive = DeletedArchive(10**9)
    blocks = [block async for block in archive.blocks([gone, folder])]
    assert extracted(b"".join(blocks)) == {}
    assert {loss.reason for loss in archive.losses.values()} == {"Unreadable"}


async def test_attributes_that_cannot_be_read_cost_no_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = unnamed(tmp_path, b"content")

    def refuse(*_: object) -> list[str]:
        raise PermissionError

    monkeypatch.setattr(os, "listxattr", refuse)
    blocks = [block async for block in DeletedArchive(10**9).blocks([file])]
    assert extracted(b"".join(blocks)) == {file.member: b"content"}


class FailingStorage(LocalStorage):
    """A folder that does not take the archive."""

    def __init__(self, folder: Path, error: Exception) -> None:
        super().__init__(folder)
        self._error = error

    def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        if name.endswith("deleted.tar"):
            raise self._error
        return super().create(name, content_type=content_type)


async def test_what_nobody_foresaw_costs_the_archive_and_no_other_evidence(tmp_path: Path) -> None:
    with holding(tmp_path, 'a = gone("open", b"x")') as pid:
        for error in (ValueError("odd"), UsageError("The destination is gone")):
            capture = capturing(tmp_path / "bundle")
            capture.bundle = BundleWriter(FailingStorage(tmp_path / "bundle", error))
            await deleted.account(capture, [pid], Programs())
            with pytest.raises(UsageError) if isinstance(error, UsageError) else nullcontext():
                await deleted.store(capture)
                (gap,) = capture.bundle.not_captured
                assert (gap.what, gap.reason) == ("deleted files", "Unexpected")
                assert "1 files could not be stored: ValueError: odd" in gap.message


async def test_where_nothing_was_looked_for_nothing_is_stored(tmp_path: Path) -> None:
    capture = capturing(tmp_path / "bundle")
    await deleted.store(capture)
    assert not capture.bundle.artifacts and not capture.bundle.not_captured
