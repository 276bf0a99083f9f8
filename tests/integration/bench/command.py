"""The benchmark as a command, and what it leaves on the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from bench.goals import GOALS
from bench.page import block
from bench.sink import ROOT
from lab.docker import DockerEngine


def python(*arguments: str | Path, docker: DockerEngine) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        # A module that was changed is compiled by who imports it first: that is no scratch space.
        env={**os.environ, **docker.env, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def measured(page: Path) -> set[str]:
    """Return the names of the blocks with something in them."""
    text = page.read_text()
    found = re.findall(r"<!-- bench:(\S+) -->\n(.*?)<!-- /bench -->", text, re.DOTALL)
    return {name for name, inside in found if inside}


def goals(page: Path) -> dict[str, str]:
    """Return what was measured of each goal."""
    known = {aim.what: name for name, aim in GOALS.items()}
    rows = [line.strip("| ").split(" | ") for line in block(page, "goals").splitlines()]
    return {known[row[0]]: row[2] for row in rows if row[0] in known}
