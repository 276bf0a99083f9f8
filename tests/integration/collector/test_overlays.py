"""What a real overlay makes of a container's doings, and how it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector import mounts
from collector.beneath import opened
from collector.overlay import layers_beside
from tests.integration.collector.overlays import changes_of, layers_of, overlay

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


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
    assert layers.lowers == (bytes(tmp_path / "l/LOWER"),)
    assert changes_of(layers).keys() == {"/etc", "/etc/conf"}


def test_a_stopped_overlay_whose_files_left_their_content_below(tmp_path: Path) -> None:
    put(tmp_path / "lower/dir/big", "content")
    with overlay(tmp_path, ",metacopy=on,redirect_dir=on") as merged:
        (merged / "dir/big").chmod(0o4755)
        (merged / "dir").rename(merged / "moved")
    with opened(mounts.mount_layers(layers_of(tmp_path))) as root:
        assert Path(f"/proc/self/fd/{root}/moved/big").read_text() == "content"
