"""One mount that never answers costs its own files, and no others."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from collector.files.mountarchive import OpenMount
from collector.files.mountstream import MountBudget, MountStream
from collector.files.safe_open import opened
from collector.files.withheld import MAX_FILE, WithheldList
from forensics_core.bundle.manifest import Flag
from tests.integration.collector.stuck import ANSWERED, SIZE, stuck
from tests.unprivileged import READING, without

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


async def read(stream: MountStream, tops: list[OpenMount]) -> dict[str, bytes]:
    data = b"".join([block async for block in stream.blocks(tops)])
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in filter(tarfile.TarInfo.isreg, archive.getmembers()):
            content = archive.extractfile(member)
            assert content
            found[member.name] = content.read()
    return found


async def test_a_mount_that_stops_answering(tmp_path: Path) -> None:
    (tmp_path / "stuck").mkdir()
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/file").write_text("plain")
    with stuck(tmp_path / "stuck"), ExitStack() as stack:
        places = [
            stack.enter_context(opened(os.open(tmp_path / name, os.O_PATH)))
            for name in ("stuck", "plain")
        ]
        tops = [
            OpenMount(b"/stuck", places[0], volume=True),
            OpenMount(b"/plain", places[1], volume=True),
        ]
        stream = MountStream(seconds=0.5)
        found = await read(stream, tops)
    assert found == {
        "./stuck/file": (b"x" * ANSWERED).ljust(SIZE, b"\0"),
        "./plain/file": b"plain",
    }
    loss = stream.losses[b"/stuck"]
    assert loss.hung and "took more than" in loss.why and not stream.losses[b"/plain"].missing.total
    assert stream.notes.flags == {Flag.TRUNCATED} and stream.done == {b"/stuck", b"/plain"}


async def test_volumes_have_a_budget_of_their_own(tmp_path: Path) -> None:
    for name in ("memory", "volume"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * 100)
    stream = MountStream(memory=MountBudget(150, 10), volumes=MountBudget(50, 10))
    with ExitStack() as stack:
        tops = [
            OpenMount(b"/" + name.encode(), place, volume=name == "volume")
            for name in ("memory", "volume")
            for place in [stack.enter_context(opened(os.open(tmp_path / name, os.O_PATH)))]
        ]
        assert set(await read(stream, tops)) == {"./memory/file"}
    assert stream.losses[b"/volume"].why == "an archive holds 50 bytes at most"
    assert stream.memory.room == 50 and stream.volumes.room == 50


def test_what_a_list_of_digests_does_not_read_is_told(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    os.mkfifo(tmp_path / "c")
    with opened(os.open(tmp_path, os.O_PATH)) as place:
        listing = WithheldList(key=b"k", most=4)
        list(listing.blocks([OpenMount(b"/s", place)]))
    rows = {row["path"]: row for row in listing.rows}
    assert rows.keys() == {"/s", "/s/a", "/s/b", "/s/c"} and "hmac" not in rows["/s/c"]
    assert "4 such files" in listing.losses[b"/s"].why
    with opened(os.open(tmp_path, os.O_PATH)) as place:
        listing = WithheldList(key=b"k", most=5)
        list(listing.blocks([OpenMount(b"/s", place)]))
    assert listing.rows[-1]["hmac"] is None and "at most are read" in listing.losses[b"/s"].why

    (tmp_path / "a").chmod(0)
    os.chown(tmp_path / "a", 1234, 1234)
    with opened(os.open(tmp_path / "a", os.O_PATH)) as place:
        listing = WithheldList(key=b"k")
        top = OpenMount(b"/s", place, single=True)
        without(*READING, action=lambda: list(listing.blocks([top])))
    assert listing.losses[b"/s"].why == "Permission denied"
