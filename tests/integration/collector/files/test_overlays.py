"""What a real overlay makes of a container's doings, and how it is read."""

from __future__ import annotations

import base64
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collector.files import mounts
from collector.files.overlay import layers_beside
from collector.files.safe_open import opened
from tests.integration.collector.overlays import changes_of, layers_of, overlay

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""`cap_net_raw+ep`"""


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_layers_that_are_named_by_links_as_cri_o_does(tmp_path: Path) -> None:
    put(tmp_path / "4f2a/diff/etc/conf")
    put(tmp_path / "9b1c/diff/etc/conf", "changed")
    (tmp_path / "l").mkdir()
    (tmp_path / "l/UPPER").symlink_to("../9b1c/diff")
    (tmp_path / "l/LOWER").symlink_to("../4f2a/diff")
    layers = layers_beside(bytes(tmp_path / "9b1c/merged"), b"l/LOWER")
    assert layers.lower_layers == (bytes(tmp_path / "l/LOWER"),)
    assert changes_of(layers).keys() == {"/etc", "/etc/conf"}


def test_a_stopped_overlay_whose_files_left_their_content_below(tmp_path: Path) -> None:
    put(tmp_path / "lower/dir/big", "content")
    with overlay(tmp_path, ",metacopy=on,redirect_dir=on") as merged:
        (merged / "dir/big").chmod(0o4755)
        (merged / "dir").rename(merged / "moved")
    with opened(mounts.mount_layers(layers_of(tmp_path))) as root:
        assert Path(f"/proc/self/fd/{root}/moved/big").read_text() == "content"


def test_layers_that_only_hold_content_are_mounted_as_such(tmp_path: Path) -> None:
    for name in ("upper/a", "lower/b", "data/hidden"):
        put(tmp_path / name)
    layers = replace(layers_of(tmp_path), data=(bytes(tmp_path / "data"),))
    with opened(mounts.mount_layers(layers)) as root:
        names = {path.name for path in Path(f"/proc/self/fd/{root}").iterdir()}
    assert names == {"a", "b"}


REDIRECT = ",redirect_dir=on"


def kinds(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {path: row["kind"] + row.get("from", "") for path, row in rows.items()}


def make_image(folder: Path) -> None:
    for name in ("a/1", "a/sub/inside", "b/1", "b/2", "b/sub/other", "b/lost/deep"):
        put(folder / "lower" / name)


def test_a_directory_moved_into_a_new_one(tmp_path: Path) -> None:
    make_image(tmp_path)
    with overlay(tmp_path, REDIRECT) as merged:
        (merged / "new").mkdir()
        (merged / "a").rename(merged / "new/a")
    assert kinds(changes_of(layers_of(tmp_path))) == {"/a": "D", "/new": "A", "/new/a": "A/a"}


def test_a_directory_moved_over_a_removed_one(tmp_path: Path) -> None:
    make_image(tmp_path)
    with overlay(tmp_path, REDIRECT) as merged:
        shutil.rmtree(merged / "b")
        (merged / "a").rename(merged / "b")
        put(merged / "b/1", "edited")
        put(merged / "b/3/new")
    assert kinds(changes_of(layers_of(tmp_path))) == {
        "/a": "D",
        "/b": "C/a",
        "/b/1": "C/a/1",
        "/b/2": "D",
        "/b/3": "A",
        "/b/3/new": "A",
        "/b/lost": "D",
        "/b/sub/other": "D",
    }


def test_what_covers_the_image_s_own_again(tmp_path: Path) -> None:
    make_image(tmp_path)
    with overlay(tmp_path, REDIRECT) as merged:
        shutil.rmtree(merged / "b")
        (merged / "a").rename(merged / "b")
        put(merged / "b/2", "again")
        (merged / "b/sub").rename(merged / "b/lost")
    assert kinds(changes_of(layers_of(tmp_path))) == {
        "/a": "D",
        "/b": "C/a",
        "/b/2": "C",
        "/b/lost": "C/a/sub",
        "/b/lost/deep": "D",
        "/b/sub": "D/a/sub",
    }


def test_a_new_directory_where_the_image_had_one(tmp_path: Path) -> None:
    make_image(tmp_path)
    with overlay(tmp_path, REDIRECT) as merged:
        shutil.rmtree(merged / "b")
        (merged / "a").rename(merged / "b")
        put(merged / "b/lost/new")
    rows = changes_of(layers_of(tmp_path))
    assert {path: kind for path, kind in kinds(rows).items() if "lost" in path} == {
        "/b/lost": "C",
        "/b/lost/deep": "D",
        "/b/lost/new": "A",
    }


def test_a_directory_of_a_moved_one_is_moved(tmp_path: Path) -> None:
    make_image(tmp_path)
    shutil.rmtree(tmp_path / "lower/b")
    with overlay(tmp_path, REDIRECT) as merged:
        (merged / "a").rename(merged / "b")
        (merged / "b/sub").rename(merged / "b/sub2")
        (merged / "b/1").unlink()
    rows = changes_of(layers_of(tmp_path))
    assert kinds(rows) == {
        "/a": "D",
        "/b": "A/a",
        "/b/1": "D/a/1",
        "/b/sub": "D/a/sub",
        "/b/sub2": "A/a/sub",
    }
    assert rows["/b/1"]["notes"] == ["moved"]


def test_a_directory_replaced_within_a_moved_one(tmp_path: Path) -> None:
    make_image(tmp_path)
    with overlay(tmp_path, REDIRECT) as merged:
        (merged / "a").rename(merged / "c")
        shutil.rmtree(merged / "c/sub")
        put(merged / "c/sub/new")
        shutil.rmtree(merged / "b")
        put(merged / "b", "a file now")
    assert kinds(changes_of(layers_of(tmp_path))) == {
        "/a": "D",
        "/b": "C",
        "/b/1": "D",
        "/b/2": "D",
        "/b/lost": "D",
        "/b/sub": "D",
        "/c": "A/a",
        "/c/sub": "C/a/sub",
        "/c/sub/inside": "D/a/sub/inside",
        "/c/sub/new": "A",
    }


def test_a_moved_directory_that_covers_a_file_with_one_and_one_with_a_file(tmp_path: Path) -> None:
    put(tmp_path / "lower/a/x")
    put(tmp_path / "lower/a/y/inside")
    put(tmp_path / "lower/b/x/was here")
    put(tmp_path / "lower/b/y")
    put(tmp_path / "lower/b/z")
    with overlay(tmp_path, REDIRECT) as merged:
        shutil.rmtree(merged / "b")
        (merged / "a").rename(merged / "b")
        put(merged / "b/z", "again")
        (merged / "b/z").unlink()
    assert kinds(changes_of(layers_of(tmp_path))) == {
        "/a": "D",
        "/b": "C/a",
        "/b/x/was here": "D",
        "/b/z": "D",
    }


def test_attributes_are_a_change_although_all_else_is_as_it_was(tmp_path: Path) -> None:
    put(tmp_path / "lower/bin/ping")
    with overlay(tmp_path) as merged:
        os.setxattr(merged / "bin/ping", "security.capability", CAPABILITY)
    row = changes_of(layers_of(tmp_path))["/bin/ping"]
    assert row["notes"] == ["capabilitiesAdded", "xattrsChanged"]
    assert base64.b64decode(row["xattrs"]["security.capability"]) == CAPABILITY
