"""`forensics cat` of files that are almost nothing but holes: a few bytes, of any size."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result

from forensics_core.api.order import Compression
from forensics_core.cli.main import forensics
from tests.bundles import replace_object
from tests.integration.collector.folder_container import capture_tree
from tests.programs import environment, program

TEBIBYTE = 1024**4
WORDS = b"in the middle of nowhere"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    sparse(tree, "bomb", TEBIBYTE)
    sparse(tree, "small", 1024**2)
    sparse(tree, "large", 2 * 1024**3)
    anyio.run(partial(capture_tree, tree, str(tmp_path / "bundle")))
    return tmp_path / "bundle"


def sparse(folder: Path, name: str, whole: int) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / name).open("wb") as file:
        file.truncate(whole)
        file.seek(whole // 2)
        file.write(WORDS)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(forensics, [str(argument) for argument in arguments])


def test_more_holes_than_a_pipe_takes_are_refused_in_one_line(bundle: Path) -> None:
    result = invoke("cat", bundle, "web:/bomb")
    assert result.exit_code == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "1.00 TiB" in line and "> FILE" in line


def test_a_few_holes_are_zeros(bundle: Path) -> None:
    result = invoke("cat", bundle, "web:/small")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout_bytes == bytes(512 * 1024) + WORDS + bytes(512 * 1024 - len(WORDS))


def test_many_holes_are_told_before_they_come(bundle: Path) -> None:
    command = [program("forensics"), "cat", str(bundle), "web:/large"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout and running.stderr
        assert running.stderr.readline() == b"Note: 2.00 GiB, of which 2.00 GiB are holes\n"
        assert running.stdout.read(1000) == bytes(1000)
        running.kill()


def into(
    path: Path,
    *arguments: str | Path,
    mode: str = "xb",
    before: Callable[[], None] | None = None,
) -> tuple[int, str]:
    """Run the command with a file as its output."""
    command = [program("forensics"), *(str(argument) for argument in arguments)]
    with path.open(mode) as file:
        done = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.PIPE,
            env=environment({}),
            check=False,
            preexec_fn=before,
        )
    return done.returncode, done.stderr.decode()


def test_in_a_file_holes_stay_holes(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert into(target, "cat", bundle, "web:/bomb") == (0, "")
    found = target.stat()
    assert found.st_size == TEBIBYTE and found.st_blocks * 512 < 1024**2
    with target.open("rb") as file:
        file.seek(TEBIBYTE // 2)
        assert file.read(len(WORDS) + 1) == WORDS + b"\0"


def test_behind_what_a_file_has_no_holes_are_made(bundle: Path, tmp_path: Path) -> None:
    """As with `>>`: where such a write goes, nobody but the kernel decides."""
    target = tmp_path / "target"
    target.write_bytes(b"before")
    code, error = into(target, "cat", bundle, "web:/bomb", mode="ab")
    assert code == 1 and "1.00 TiB" in error
    assert into(target, "cat", bundle, "web:/small", mode="ab") == (0, "")
    assert target.read_bytes()[:7] == b"before\0" and target.stat().st_size == 6 + 1024**2


def test_a_file_of_a_size_that_cannot_be_is_refused_in_one_line(
    bundle: Path, tmp_path: Path
) -> None:
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (TEBIBYTE - 1, TEBIBYTE - 1))
    code, error = into(tmp_path / "target", "cat", bundle, "web:/bomb", before=limit)
    assert code == 1 and len(error.splitlines()) == 1
    assert "this file system has none of that size" in error


def test_data_that_is_not_genuine_makes_the_exit_code_3(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    sparse(tree, "bomb", TEBIBYTE)
    folder = tmp_path / "bundle"
    anyio.run(partial(capture_tree, tree, str(folder), compression=Compression.NONE))
    name = "containers/web/rootfs.tar"
    data = (folder / name).read_bytes()
    assert WORDS in data
    replace_object(folder, name, data.replace(WORDS, WORDS[::-1]))
    code, error = into(tmp_path / "target", "cat", folder, "web:/bomb")
    assert code == 3 and len(error.splitlines()) == 1
