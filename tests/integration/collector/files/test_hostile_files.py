"""A subtree that kills tar costs itself, and nothing beside it."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collector.files.gnu_tar import TREE_LIMITS, TreeLimits, TreeReading, read_tree
from collector.files.resuming import Resumption
from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.files import open_index
from forensics_core.bundle.manifest import NotCaptured, Statement
from forensics_core.bundle.reader import open_bundle
from tests.integration.collector.folder_container import capture_tree

MIB = 1024 * 1024
BESIDE = ("a", "line\nbreak", " blanks ", "\\t[x]*?", "q", "z", "#", "--help")
"""Names in a directory beside what is hostile: some come before it, some after."""


def make_beside(top: Path) -> None:
    for name in BESIDE:
        (top / "app" / name).mkdir(parents=True)
        (top / "app" / name / "note").write_text(name)
        (top / name).write_text(name)


def make_deep(folder: Path, levels: int, name: str = "d") -> None:
    """Nest directories, deeper than the kernel's paths reach."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        deeper = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "top"
    folder.mkdir()
    make_beside(folder)
    yield folder
    # Neither Python nor pytest can remove a tree as deep as these.
    subprocess.run(["rm", "-rf", folder], check=True)


@asynccontextmanager
async def reading_of(
    folder: Path, limits: TreeLimits = TREE_LIMITS
) -> AsyncIterator[tuple[list[str], TreeReading]]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        async with read_tree(descriptor, limits) as reading:
            data = b"".join([bytes(block) async for block in reading.blocks])
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                yield tar.getnames(), reading
    finally:
        os.close(descriptor)


def wanted() -> set[str]:
    inside = {f"./app/{name}{rest}" for name in BESIDE for rest in ("", "/note")}
    return inside | {f"./{name}" for name in BESIDE} | {".", "./app"}


def gaps(bundle: Path) -> tuple[NotCaptured, ...]:
    return Statement.from_bytes((bundle / "manifest.json").read_bytes()).predicate.not_captured


async def test_a_tree_of_12000_levels_is_named_and_what_is_beside_it_is_captured(
    top: Path, tmp_path: Path
) -> None:
    (top / "app/m").mkdir()
    make_deep(top / "app/m", 12_000)
    await capture_tree(top, str(tmp_path / "bundle"))
    (gap,) = gaps(tmp_path / "bundle")
    assert gap.requested and gap.path == "/app/m" + "/d" * 254
    assert "memory exhausted" in gap.message
    async with open_bundle(str(tmp_path / "bundle")) as bundle:
        index = await open_index(bundle, "web")
        for name in BESIDE:
            row = await find_file(index, f"/app/{name}/note".encode())
            found = [block async for block in read_file(bundle, index, row)]
            assert b"".join(found) == name.encode()
        assert await index.find(b"/app/m" + b"/d" * 2_000)


async def test_several_deep_trees_are_each_named(top: Path) -> None:
    for name in ("b", "m", "y"):
        (top / "app" / name).mkdir()
        make_deep(top / "app" / name, 700, "d" * 100)
    async with reading_of(top, TreeLimits(memory=24 * MIB)) as (names, reading):
        assert wanted() <= {*names}
        losses = sorted(loss.path[:7] for loss in reading.losses)
        assert losses == [b"/app/b/", b"/app/m/", b"/app/y/"]
    assert len(names) == len(set(names))


async def test_a_directory_with_too_many_names_is_named(top: Path) -> None:
    (top / "app/m").mkdir()
    (top / "app/m/first").touch()
    (top / "app/m/inner").mkdir()
    here = os.open(top / "app/m/inner", os.O_RDONLY)
    os.close(os.open("first", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    for number in range(60_000):  # a file of ext4 has 65,000 names at most
        os.link("first", f"{number:0250}", src_dir_fd=here, dst_dir_fd=here)
    os.close(here)
    limits = TreeLimits(memory=16 * MIB, many=20_000)
    async with reading_of(top, limits) as (names, reading):
        assert wanted() <= {*names} and "./app/m/first" in names
        (loss,) = reading.losses
        assert loss.path == b"/app/m/inner" and "memory exhausted" in loss.why


async def test_many_hard_links_do_not_end_the_walk(top: Path) -> None:
    """tar remembers each file that has several names; a fresh tar has the memory for more."""
    (top / "elsewhere").mkdir()
    for number in range(9_000):
        long = top.joinpath("app", *("l" * 250 for _ in range(10)), f"{number // 100}")
        long.mkdir(parents=True, exist_ok=True)
        here = os.open(long, os.O_RDONLY)
        os.close(os.open(f"{number}", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.link(f"{number}", top / "elsewhere" / f"{number}", src_dir_fd=here)
        os.close(here)
    async with reading_of(top, TreeLimits(memory=16 * MIB)) as (names, reading):
        assert wanted() <= {*names}
        assert sum(name.startswith("./elsewhere/") for name in names) == 9_000
        assert sum(name.count("/") == 13 for name in names) == 9_000
        assert reading.runs > 1 and not reading.losses


def test_a_place_that_is_gone_leaves_nothing_out(top: Path) -> None:
    descriptor = os.open(top, os.O_RDONLY)
    resumption = Resumption(descriptor)
    assert resumption.go_on(b"./app/gone", "killed", cut=False)
    assert not any(name.startswith(b"./app/") and name != b"./app/gone" for name in resumption.done)
    os.close(descriptor)


def test_there_is_an_end_to_going_on(top: Path) -> None:
    descriptor = os.open(top, os.O_RDONLY)
    resumption = Resumption(descriptor, max_runs=3)
    assert [resumption.go_on(b"./a", "killed", cut=False) for _ in range(3)] == [True, True, False]
    (loss,) = resumption.losses
    assert (top / os.fsdecode(loss.path[1:])).exists()
    end = Resumption(descriptor)
    for number in range(2):
        assert end.go_on(b"./nowhere/last", "killed", cut=False) == (number == 0)
    mute = Resumption(descriptor)
    assert [mute.go_on(b"", "killed", cut=False) for _ in range(2)] == [True, False]
    os.close(descriptor)


def test_what_is_to_be_left_out_is_bounded(top: Path) -> None:
    descriptor = os.open(top, os.O_RDONLY)
    resumption = Resumption(descriptor, max_excluded=10)
    assert resumption.go_on(b"./app/z", "killed", cut=False)
    assert sum(map(len, resumption.done)) < 20
    os.close(descriptor)
