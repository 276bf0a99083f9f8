"""Objects in a bucket that were cut short: `ls`, `cat` and `verify` name them, with exit code 3."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result

from forensics_core.cli.main import forensics
from lab.seaweed import S3Server
from tests.integration.collector.folder_container import capture_tree

FOLDER = "cases/one/containers/web"


@pytest.fixture
async def location(
    s3: S3Server,
    bucket: str,
    tmp_path: Path,
    use_env: Callable[[Mapping[str, str]], None],
) -> str:
    """A bundle with a file of its own at either end of a large archive."""
    use_env(s3.env())
    (tmp_path / "tree").mkdir()
    for name in ("a", "b"):
        (tmp_path / "tree" / name).write_bytes(os.urandom(6 * 1024 * 1024))
    await capture_tree(tmp_path / "tree", f"s3://{bucket}/cases/one")
    return f"s3://{bucket}/cases/one"


async def cut(s3: S3Server, bucket: str, name: str, keep: float) -> None:
    async with s3.client() as client:
        answer = await client.get_object(Bucket=bucket, Key=f"{FOLDER}/{name}")
        data = await answer["Body"].read()
        short = data[: int(len(data) * keep)]
        await client.put_object(Bucket=bucket, Key=f"{FOLDER}/{name}", Body=short)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(forensics, arguments)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("rootfs.tar.zst", "cat"),
        ("rootfs.lookup.jsonl.zst", "cat"),
        ("rootfs.lookup.jsonl.zst", "ls"),
    ],
)
def test_what_was_cut_is_named(
    s3: S3Server, bucket: str, location: str, name: str, command: str, keep: float
) -> None:
    anyio.run(cut, s3, bucket, name, keep)
    read = invoke(command, location, "web:/a" if command == "cat" else "web:/")
    assert read.exit_code == 3, read.output
    assert name in read.stderr and "Look the answer up" not in read.stderr
    verified = invoke("verify", location)
    assert verified.exit_code == 3
    assert f"Mismatch: containers/web/{name}: it is truncated" in verified.stdout


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_an_index_that_was_cut_is_read_from_its_copy_and_named_by_verify(
    s3: S3Server, bucket: str, location: str, keep: float
) -> None:
    whole = {command: invoke(*command).stdout_bytes for command in commands(location)}
    anyio.run(cut, s3, bucket, "rootfs.index.jsonl.zst", keep)
    assert whole == {command: invoke(*command).stdout_bytes for command in whole}
    verified = invoke("verify", location)
    assert verified.exit_code == 3
    expected = "Mismatch: containers/web/rootfs.index.jsonl.zst: it is truncated"
    assert expected in verified.stdout


def commands(location: str) -> list[tuple[str, ...]]:
    return [("cat", location, "web:/a"), ("ls", location, "web:/")]
