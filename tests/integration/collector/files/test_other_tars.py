"""The archive opens with other people's tools, and they see in it what the index says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import anyio
import pytest

from collector.files.tar_stderr import unquote
from forensics_core.tarindex.member import absolute
from tests.integration.collector.files.test_round_trip import opened, rows_of
from tests.integration.collector.folder_container import archive, capture_tree
from tests.integration.collector.random_files import HOLE, ODD, access_list

MEMBERS = 19
COMPLAINT = b"Pathname can't be converted from UTF-8 to current locale."
"""What bsdtar says, and what it ends with 1 for, where a name is not UTF-8."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make these")


@pytest.fixture
async def bundle(tmp_path: Path) -> Path:
    """A captured tree with odd names, attributes, access lists, holes and links."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (*ODD, "café".encode(), b"\xff" * 200):
        path = tree / os.fsdecode(name)
        path.write_bytes(b"content")
        os.setxattr(path, "user.origin", b"\0\n\xff")
        os.setxattr(path, "trusted.a=b", b"")
        os.setxattr(path, "system.posix_acl_access", access_list(1, 7777, 5))
    folder = tree.joinpath(*["deep" * 50] * 5)
    folder.mkdir(parents=True)
    os.setxattr(folder, "system.posix_acl_default", access_list(1, 7777, 5))
    for sparse in ("sparse", "sparse\udcff"):
        with (tree / sparse).open("wb") as file:
            file.seek(HOLE)
            file.write(b"data")
            file.truncate(5 * HOLE)
    (folder / "twin").hardlink_to(tree / "sparse")
    (tree / "link").symlink_to("x" * 300)
    os.mkfifo(tree / "pipe")
    await capture_tree(tree, str(tmp_path / "bundle"))
    return tmp_path / "bundle"


def listed(bundle: Path, *command: str) -> tuple[list[bytes], set[bytes]]:
    """Return the members that a command finds in what `zstd -d` gives it, and its tar_stderr."""
    packed = f"{archive(bundle)}.zst"
    with subprocess.Popen(["zstd", "-dc", packed], stdout=subprocess.PIPE) as zstd:
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        tar = subprocess.run(command, stdin=zstd.stdout, capture_output=True, check=False, env=env)
    assert zstd.returncode == 0 and tar.returncode in {0, 1}
    names = [unquote(line.strip(b'"')) for line in tar.stdout.splitlines()]
    return names, {line.partition(b": ")[2] for line in tar.stderr.splitlines()}


async def indexed(bundle: Path) -> list[bytes]:
    async with opened(bundle) as (_, index):
        return [row.path for row in await rows_of(index)]


def in_the_container(names: Iterable[bytes]) -> list[bytes]:
    return [absolute(name) for name in names]


async def test_gnu_tar_lists_what_the_index_does(bundle: Path) -> None:
    command = ("tar", "-t", "--quoting-style=c")
    names, tar_stderr = await anyio.to_thread.run_sync(listed, bundle, *command)
    assert not tar_stderr
    assert len(names) == MEMBERS and in_the_container(names) == await indexed(bundle)


async def test_bsdtar_lists_what_the_index_does(bundle: Path) -> None:
    names, tar_stderr = await anyio.to_thread.run_sync(listed, bundle, "bsdtar", "-tf", "-")
    assert tar_stderr == {COMPLAINT, b"Error exit delayed from previous errors."}
    assert len(names) == MEMBERS and in_the_container(names) == await indexed(bundle)
