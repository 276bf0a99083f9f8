"""`ls CONTAINER:PATH` and `cat`, on a bundle in a folder whose files have odd names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result

from forensics_core.cli.files import human_time, parse_container_path
from forensics_core.cli.main import forensics
from forensics_core.errors import UsageError
from tests.integration.collector.folder_container import capture_tree
from tests.unit.tarindex.archives import member, tar


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("files")
    tree = folder / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "passwd").write_bytes(b"root:x:0:0\n\xff")
    (tree / "etc" / os.fsdecode(b"\x1b[31m\xff")).touch()
    (tree / "link").symlink_to("etc")
    (tree / "twin").hardlink_to(tree / "etc" / "passwd")
    for path in (tree / "etc" / "passwd", tree / "etc"):
        os.utime(path, (0, 86_400))
        path.chmod(0o750)
    anyio.run(capture_tree, tree, str(folder / "bundle"))
    yield folder / "bundle"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(forensics, [str(argument) for argument in arguments])


def test_a_directory_is_listed(bundle: Path) -> None:
    lines = invoke("ls", bundle, "web:/").stdout.splitlines()
    owner = f"{os.getuid():>5} {os.getgid():>5}"
    assert lines[0] == f"drwxr-x--- {owner} {0:>12} 1970-01-02 00:00:00 etc"
    assert lines[1].startswith("lrwxrwxrwx") and lines[1].endswith(" link -> etc")
    assert len(lines) == 3


def test_a_hard_link_does_not_look_like_an_empty_file(bundle: Path) -> None:
    lines = invoke("ls", bundle, "web:/", "-R").stdout.splitlines()
    (link,) = (line for line in lines if " link to /" in line)
    target = link.partition(" link to ")[2]
    (file,) = (line for line in lines if line.endswith(f" 00:00:00 {target}"))
    assert f"{'link':>12} 1970-01-02" in link and f"{12:>12} 1970-01-02" in file


def test_names_cannot_play_tricks(bundle: Path) -> None:
    lines = invoke("ls", bundle, "web:etc").stdout.splitlines()
    assert lines[0].endswith(" \\x1b[31m\\xff")


def test_everything_beneath(bundle: Path) -> None:
    said = json.loads(invoke("ls", bundle, "web:/", "-R", "-o", "json").stdout)
    paths = [row["path"] for row in said["files"] if isinstance(row["path"], str)]
    assert sorted(paths) == ["/", "/etc", "/etc/passwd", "/link", "/twin"]
    lines = invoke("ls", bundle, "web:/", "-R").stdout.splitlines()
    assert len(lines) == 6 and any(" /etc/passwd" in line for line in lines)


def test_one_file_as_json(bundle: Path) -> None:
    said = json.loads(invoke("ls", bundle, "web:/etc/../etc/passwd", "-o", "json").stdout)
    (row,) = said["files"]
    assert (said["container"], said["complete"]) == ("web", True)
    assert row["path"] == "/etc/passwd" and row["mode"] == "0750"


def test_an_empty_answer_is_json_too(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    anyio.run(capture_tree, tmp_path / "tree", str(tmp_path / "empty"))
    said = json.loads(invoke("ls", tmp_path / "empty", "web:/", "-o", "json").stdout)
    assert said["files"] == []


def test_a_capture_that_was_cut_is_called_so(tmp_path: Path) -> None:
    whole = tar([(member("first"), b"1"), (member("second"), b"2" * 2000)])
    cut = partial(capture_tree, export=whole[:2048], stalls=True, seconds=1)
    anyio.run(cut, tmp_path, str(tmp_path / "cut"))
    lines = invoke("ls", tmp_path / "cut", "web:/").stdout.splitlines()
    assert lines[0].endswith(" first")
    assert (
        lines[-1]
        == "Note: There may have been more files: the archive was cut, or damaged, before its end"
    )
    assert not json.loads(invoke("ls", tmp_path / "cut", "web:/", "-o", "json").stdout)["complete"]
    for command in (["ls"], ["ls", "-R"], ["cat"]):
        result = invoke(*command, tmp_path / "cut", "web:/third")
        assert result.exit_code == 1
        assert "but the archive was cut, or damaged, before its end" in result.stderr


@pytest.mark.parametrize("more", [[], ["-R"]])
def test_what_is_not_there(bundle: Path, more: list[str]) -> None:
    result = invoke("ls", bundle, "web:/nowhere", *more)
    assert result.exit_code == 1
    assert "'/nowhere' is not in the index of 'web'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["web:/etc", "--changes"], "--changes goes with no path"),
        (["web", "-R"], "-R goes with a path"),
        (["db:/etc"], "has no container 'db'"),
    ],
)
def test_wrong_usage_of_ls(bundle: Path, arguments: list[str], said: str) -> None:
    result = invoke("ls", bundle, *arguments)
    assert result.exit_code == 2 and said in result.stderr


@pytest.mark.parametrize("path", ["/etc/passwd", "twin"])
def test_cat_prints_the_very_bytes(bundle: Path, path: str) -> None:
    result = invoke("cat", bundle, f"web:{path}")
    assert (result.exit_code, result.stdout_bytes) == (0, b"root:x:0:0\n\xff")


def test_cat_refuses_what_is_no_file(bundle: Path) -> None:
    result = invoke("cat", bundle, "web:/link")
    assert result.exit_code == 1
    assert "'/link' is a symlink to 'etc', not a regular file" in result.stderr


@pytest.mark.parametrize("place", ["web", ":/etc"])
def test_places_that_are_none(place: str) -> None:
    with pytest.raises(UsageError, match="CONTAINER:PATH"):
        parse_container_path(place)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        ("0.999999999", "1970-01-01 00:00:00"),
        ("-0.5", "1969-12-31 23:59:59"),
        ("99999999999999", "99999999999999"),
        ("\x1b", "\\x1b"),
    ],
)
def test_times_for_people(seconds: str, shown: str) -> None:
    assert human_time(seconds) == shown
