"""What no tar archive holds of a file is in the index, or in the list of changes."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from collector.files.details import Details
from collector.files.flags import Flags, parse_flags, read_flags
from forensics_core.api.order import Compression
from forensics_core.bundle.files import open_index
from forensics_core.bundle.manifest import Statement
from forensics_core.bundle.reader import open_bundle
from forensics_core.tarindex.member import Member
from tests.integration.collector.folder_container import archive, capture_tree, extract
from tests.integration.collector.overlays import changes_of, layers_of, overlay
from tests.integration.collector.tars import REAL, with_tar

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may set these")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A folder for files that nobody may change, which are set free again."""
    folder = tmp_path / "tree"
    (folder / "lower").mkdir(parents=True)
    yield folder
    subprocess.run(["chattr", "-R", "-ia", folder], check=False, capture_output=True)


def chattr(flags: str, path: Path) -> None:
    subprocess.run(["chattr", flags, path], check=True)


async def documents(location: Path) -> dict[bytes, dict[str, Any]]:
    async with open_bundle(str(location)) as bundle:
        index = await open_index(bundle, "web")
        return {row.path: {**row.document} async for row in index.rows()}


async def test_the_index_has_attributes_inode_device_and_birth_time(
    tree: Path, tmp_path: Path
) -> None:
    for name in ("fixed", "log", "plain"):
        (tree / name).touch()
    (tree / "link").symlink_to("plain")
    (tree / "folder").mkdir()
    os.mkfifo(tree / "pipe")
    chattr("+i", tree / "fixed")
    chattr("+ad", tree / "log")
    chattr("+i", tree / "folder")
    await capture_tree(tree, str(tmp_path / "bundle"))
    rows = await documents(tmp_path / "bundle")
    said = {path: row["attributes"] for path, row in rows.items() if "attributes" in row}
    assert said == {
        b"/fixed": ["immutable"],
        b"/log": ["append", "nodump"],
        b"/folder": ["immutable"],
    }
    for path, row in rows.items():
        status = os.lstat(os.fsencode(tree) + path)
        assert row["inode"] == status.st_ino
        assert row["dev"] == [os.major(status.st_dev), os.minor(status.st_dev)]
        birth = await anyio.run_process(["stat", "-c", "%.9W", os.fsencode(tree) + path])
        assert Decimal(row["btime"]) == Decimal(birth.stdout.decode())
    assert not Statement.from_bytes(
        (tmp_path / "bundle/manifest.json").read_bytes()
    ).predicate.not_captured


async def test_the_index_has_attributes_that_a_container_set_on_its_overlay(
    tree: Path, tmp_path: Path
) -> None:
    with overlay(tree) as merged:
        (merged / "fixed").touch()
        os.setxattr(merged / "fixed", "trusted.overlay.mine", b"x")
        chattr("+i", merged / "fixed")
        await capture_tree(merged, str(tmp_path / "bundle"))
        chattr("-i", merged / "fixed")
    row = (await documents(tmp_path / "bundle"))[b"/fixed"]
    assert row["attributes"] == ["immutable"]
    assert row["xattrs"] == {"trusted.overlay.mine": "x"}


def test_what_is_gone_by_now_has_no_details_and_what_changed_says_so(tree: Path) -> None:
    (tree / "file").touch()
    root = os.open(tree, os.O_RDONLY)
    details = Details(root)
    gone = (
        Member(b"/gone", "file", 0o644, 0, 0, 0, "1"),
        Member(b"/no/where", "file", 0o644, 0, 0, 0, "1"),
    )
    for member in gone:
        details.add(member)
    assert details.missed == 2 and not any(member.inode for member in gone)
    changed = Member(b"/file", "file", 0o644, 0, 0, 0, "1", ctime="1.5")
    details.add(changed)
    assert details.changed == 1 and changed.changed and changed.inode
    details.close()
    os.close(root)


def test_an_absolute_link_in_the_way_is_not_followed(tree: Path) -> None:
    (tree / "etc").symlink_to("/etc")
    root = os.open(tree, os.O_RDONLY)
    details = Details(root)
    member = Member(b"/etc/passwd", "file", 0o644, 0, 0, 0, "1")
    details.add(member)
    assert details.missed == 1 and member.inode is None
    details.close()
    os.close(root)


async def test_members_whose_details_are_of_a_moment_later_are_told(
    tree: Path, tmp_path: Path
) -> None:
    """A tar that touches the file between the real one and us, as a container may."""
    (tree / "file").touch()
    whole = tmp_path / "whole"
    limits = with_tar(tmp_path, f'{REAL} "$@" > {whole} && touch {tree}/file && cat {whole}')
    await capture_tree(tree, str(tmp_path / "bundle"), limits=limits)
    statement = Statement.from_bytes((tmp_path / "bundle/manifest.json").read_bytes())
    (gap,) = statement.predicate.not_captured
    assert (gap.what, gap.reason, gap.requested) == ("details of files", "ChangedWhileRead", False)
    assert "0 members were gone" in gap.message and "1 had been changed" in gap.message
    row = (await documents(tmp_path / "bundle"))[b"/file"]
    assert row["changedSince"] and row["inode"] == (tree / "file").stat().st_ino


def test_the_changes_have_attributes_that_an_overlay_keeps_elsewhere(tree: Path) -> None:
    (tree / "lower/log").write_text("same")
    with overlay(tree) as merged:
        (merged / "fixed").touch()
        (merged / "folder").mkdir()
        for name, flags in (("fixed", "+i"), ("folder", "+a"), ("log", "+id")):
            chattr(flags, merged / name)
        rows = changes_of(layers_of(tree))
        subprocess.run(["chattr", "-R", "-ia", merged], check=True)
    assert rows["/fixed"]["attributes"] == ["immutable"]
    assert rows["/folder"]["attributes"] == ["append"]
    assert rows["/log"]["attributes"] == ["immutable", "nodump"]
    assert rows["/log"]["notes"] == ["attributesChanged"]


def test_flags_and_project_as_the_kernel_answers() -> None:
    """Recorded of `lsattr -p`; few machines have a file system with projects."""
    own = (0x60080010).to_bytes(8, sys.byteorder)
    extended = struct.pack("=5I8x", 0x1, 0, 1, 42, 0)
    flags = parse_flags(own, extended, b"a?")
    assert flags.row() == {
        "attributes": ["append", "casefold", "immutable", "projectInherit"],
        "project": 42,
    }
    assert not Flags(frozenset({"projectInherit"})).differ(Flags())


@pytest.mark.parametrize(("options", "space"), [("", "trusted"), (",userxattr", "user")])
def test_the_changes_have_attributes_named_like_the_overlays_own(
    tree: Path, options: str, space: str
) -> None:
    (tree / "lower/old").mkdir()
    (tree / "lower/old/inside").touch()
    with overlay(tree, options) as merged:
        (merged / "new").touch()
        os.setxattr(merged / "new", f"{space}.overlay.origin", b"forged")
        os.setxattr(merged / "old", f"{space}.overlay.opaque", b"y")
    layers = layers_of(tree)
    if space == "user":
        layers = type(layers)(layers.upper, layers.lower_layers, b"user.overlay.")
    rows = changes_of(layers)
    assert rows["/new"]["xattrs"] == {f"{space}.overlay.origin": "Zm9yZ2Vk"}
    assert rows["/old"]["xattrs"] == {f"{space}.overlay.opaque": "eQ=="}
    assert rows["/old"]["notes"] == ["xattrsChanged"] and "/old/inside" not in rows


def test_types_without_flags_and_file_systems_without_them(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    for path in (tree / "pipe", Path("/proc/self/status"), Path("/dev/null")):
        place = os.open(path, os.O_PATH)
        assert not read_flags(place, b"trusted.overlay.").names
        os.close(place)


async def test_attributes_named_like_the_overlays_own_come_back(tree: Path, tmp_path: Path) -> None:
    with overlay(tree) as merged:
        (merged / "file").touch()
        os.setxattr(merged / "file", "trusted.overlay.redirect", b"/etc")
        os.setxattr(merged / "file", "security.selinux", b"u:r:t:s0")
        await capture_tree(merged, str(tmp_path / "bundle"), Compression.NONE)
    await to_thread.run_sync(extract, archive(tmp_path / "bundle"), tmp_path / "out")
    back = tmp_path / "out/file"
    assert os.getxattr(back, "trusted.overlay.redirect") == b"/etc"
    assert os.getxattr(back, "security.selinux") == b"u:r:t:s0"


async def test_what_docs_bundle_md_says_that_an_archive_loses(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "pipe")
    os.link(tree / "pipe", tree / "twin")
    with (tree / "reserved").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 65536)
    (tree / "fixed").touch()
    chattr("+i", tree / "fixed")
    await capture_tree(tree, str(tmp_path / "bundle"), Compression.NONE)
    await to_thread.run_sync(extract, archive(tmp_path / "bundle"), tmp_path / "out")
    pipe, twin = ((tmp_path / "out" / name).lstat() for name in ("pipe", "twin"))
    assert stat.S_ISFIFO(twin.st_mode) and pipe.st_ino != twin.st_ino
    rows = await documents(tmp_path / "bundle")
    assert rows[b"/pipe"]["inode"] == rows[b"/twin"]["inode"]
    assert (tmp_path / "out/reserved").read_bytes() == bytes(65536)
    (tmp_path / "out/fixed").write_text("not immutable any more")
    assert rows[b"/fixed"]["attributes"] == ["immutable"]
