"""What is installed is locked: each package at one version, by the hashes of its files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOCKS = (ROOT / "constraints.txt", ROOT / "deploy/image/requirements.txt")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def normal(name: str) -> str:
    found = _NAME.match(name)
    assert found
    return re.sub("[-_.]+", "-", found[0]).lower()


def locked(path: Path) -> dict[str, list[str]]:
    """Return the hashes of each package of a lock."""
    entries = re.split(r"\n(?=\S)", path.read_text().strip())
    return {normal(entry): re.findall(r"--hash=sha256:([0-9a-f]{64})", entry) for entry in entries}


def named(*, dev: bool) -> set[str]:
    """Return the packages that pyproject.toml names; without `dev`, those of an installation."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = document["project"]
    extras = project["optional-dependencies"]
    # The loopback cluster is for tests of one's own, YARA for analysts: no part of the image.
    lists = [
        project["dependencies"],
        *(extras[name] for name in extras if dev or name not in {"loopback", "scan"}),
    ]
    lists += document["dependency-groups"].values() if dev else []
    return {normal(name) for each in lists for name in each} - {"kube-forensics"}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_package_is_locked_by_hashes(path: Path) -> None:
    entries = locked(path)
    assert named(dev=path is LOCKS[0]) - entries.keys() == set()
    assert all(entries.values()), [name for name, hashes in entries.items() if not hashes]
    assert "://" not in path.read_text(), "no registry is named"


def test_the_image_has_what_the_tests_had() -> None:
    versions = [set(re.findall(r"^(\S+==\S+)", path.read_text(), re.MULTILINE)) for path in LOCKS]
    assert {entry for entry in versions[1] - versions[0] if not entry.startswith("pip==")} == set()
