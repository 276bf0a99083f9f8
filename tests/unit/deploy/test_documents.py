"""What the documents tell people to type is there."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from forensics_core.operator.attempt.jobs import CAPABILITIES
from tests.unit.deploy.manifests import REPOSITORY, manifests

INSTALL = (REPOSITORY / "docs" / "install.md").read_text()
SECURITY = (REPOSITORY / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"(?:deploy|examples)(?:/[\w.-]+\w)+", INSTALL + SECURITY)))
MADE_LATER = {"deploy/image/wheels"}


@pytest.mark.parametrize("path", [name for name in NAMED if name not in MADE_LATER])
def test_every_path_exists(path: str) -> None:
    assert (REPOSITORY / path).exists()


def test_every_role_that_people_are_to_bind_is_installed() -> None:
    installed = {item["metadata"]["name"] for item in manifests() if item["kind"] == "ClusterRole"}
    named = set(re.findall(r"forensics-(?:responder|observer|delegate)", INSTALL))
    assert named == {"forensics-responder", "forensics-observer", "forensics-delegate"}
    assert named < installed


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^    make (\w+)", INSTALL, re.MULTILINE))
    assert targets == {"image", "deploy"}
    makefile = (REPOSITORY / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


def test_wheels_made_by_hand_are_those_of_make_image() -> None:
    """With pip's own: the base image need not have any."""
    wanted = re.compile(r"pip wheel (?:--quiet )?(.*)$", re.MULTILINE)
    by_hand = wanted.findall(INSTALL)
    by_make = wanted.findall((REPOSITORY / "Makefile").read_text())
    assert by_hand == [line.replace("--no-build-isolation ", "") for line in by_make]
    assert "\npip==" in (REPOSITORY / "deploy/image/requirements.txt").read_text()


def test_the_bucket_policy_is_filled_in_by_the_command_that_is_shown() -> None:
    command, _ = re.findall(r"^    (sed (?:.*\\\n)+.*) > (policy.json)$", INSTALL, re.MULTILINE)[0]
    done = subprocess.run(
        ["bash", "-ec", command], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["Statement"]
    assert not re.findall(r"BUCKET|COLLECTOR|OPERATOR|READER", done.stdout)


def test_the_collectors_capabilities_are_each_explained() -> None:
    section = SECURITY.partition("## The collector's privileges")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(CAPABILITIES)
