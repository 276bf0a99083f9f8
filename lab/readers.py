"""Other people's tools, as docs/readers.md has them: which there are, and where.

for block in blocks(Path("docs/readers.md")):
    print(block.tool, block.run, block.script)
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = (
    Path(sys.executable).parent,
    ROOT / ".lab/readers/bin",
    ROOT / ".lab/readers/cosign/usr/bin",
    ROOT / ".lab/dissect/bin",
)
"""Where they are looked for, before PATH: `make readers` installs them there."""
ALL = "FORENSICS_TEST_READERS"
"""Set where none may be missing."""
_BLOCK = re.compile(r"<!-- (run|not run): (\S+) -->\n\n((?:    .*\n|\n(?=    ))+)")


@dataclass(frozen=True)
class CommandBlock:
    """The commands that the page has for a tool."""

    tool: str
    run: bool
    """Whether the tests run it."""
    script: str


def blocks(page: Path) -> list[CommandBlock]:
    """Return the page's commands, in its order."""
    found = _BLOCK.findall(page.read_text())
    return [
        CommandBlock(tool, how == "run", re.sub("^    ", "", script, flags=re.MULTILINE))
        for how, tool, script in found
    ]


def search_path() -> str:
    """Return a PATH that has them."""
    return os.pathsep.join([*map(str, PLACES), os.environ.get("PATH", os.defpath), "/usr/sbin"])


def missing(tool: str) -> str:
    """Return why a tool cannot be run here; empty if it can."""
    needed = [tool, *({"yara": ["ratarmount"], "cosign": ["jq"], "openssl": ["jq"]}.get(tool, []))]
    for each in needed:
        if shutil.which(each, path=search_path()) is None:
            return f"{each} is not installed: 'make readers' does it"
    if "ratarmount" in needed and not Path("/dev/fuse").exists():
        return "there is no FUSE here, which ratarmount needs"
    return ""
