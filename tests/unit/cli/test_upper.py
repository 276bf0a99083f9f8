"""`ls --upper` and `cat --upper`: what a container had written that was removed meanwhile."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result

from forensics_core.cli.main import forensics
from tests.bundles import edit_manifest
from tests.integration.collector.folder_container import capture_tree


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle in which the archive is that of the upper directory, and there is no other."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "written").write_text("by the intruder\n")
    anyio.run(partial(capture_tree, tree, str(tmp_path / "bundle")))
    folder = tmp_path / "bundle"
    for path in list(folder.glob("containers/web/rootfs.*")):
        path.rename(path.with_name(path.name.replace("rootfs.", "upper.")))
    for name in ("SHA256SUMS", "manifest.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("web/rootfs.", "web/upper."))
    digest = hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    edit_manifest(
        folder,
        lambda document: [
            row["digest"].update(sha256=digest)
            for row in document["subject"]
            if row["name"] == "SHA256SUMS"
        ],
    )
    return folder


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(forensics, [str(argument) for argument in arguments])


def test_it_is_listed(bundle: Path) -> None:
    assert invoke("verify", bundle).exit_code == 0
    result = invoke("ls", bundle, "web:/", "--upper")
    assert result.exit_code == 0 and result.stdout.endswith(" written  [from upper]\n")


def test_its_files_are_printed(bundle: Path) -> None:
    result = invoke("cat", bundle, "web:/written", "--upper")
    assert (result.exit_code, result.stdout) == (0, "by the intruder\n")


@pytest.mark.parametrize("command", ["ls", "cat"])
def test_without_the_option_it_does_not_pass_for_the_file_system(
    bundle: Path, command: str
) -> None:
    result = invoke(command, bundle, "web:/written")
    assert result.exit_code == 1 and "has no index of the files of 'web'" in result.stderr


@pytest.mark.parametrize("command", ["ls", "cat"])
def test_a_container_that_was_not_removed_has_none(tmp_path: Path, command: str) -> None:
    (tmp_path / "tree").mkdir()
    anyio.run(partial(capture_tree, tmp_path / "tree", str(tmp_path / "whole")))
    result = invoke(command, tmp_path / "whole", "web:/written", "--upper")
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1
