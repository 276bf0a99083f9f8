"""`python -m lab.recording`: the demo's real output, as pictures for the README.

The demo runs on a terminal of its own. What that shows at the end is cut at the headings, and each
part becomes an SVG in `docs/images`: `demo-by-hand.svg`, `demo-in-a-cluster.svg` and
`demo-deleted.svg`.
"""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

from lab.process import LabError

WIDTH = 124
"""Columns of the terminal."""
IMAGES = Path(__file__).parent.parent / "docs" / "images"
PARTS = {
    "== 1.": "demo-by-hand.svg",
    "== 2.": "demo-in-a-cluster.svg",
    "== 3.": "demo-deleted.svg",
}
"""How a part's heading begins, and the file's name."""

_FONTS = re.compile(r"@font-face\s*{.*?}", re.DOTALL)
_CONTROLS = re.compile(r"\x1b\[(?P<count>\d*)(?P<what>[AK])|\x1b\[\?\d+[hl]|\r\n|\r|\n")


def main() -> None:
    """Run the demo, and draw what it shows."""
    screen = settled(record([sys.executable, "-m", "lab.demo"]))
    for heading, name in PARTS.items():
        (IMAGES / name).write_text(draw(part(screen, heading)))
        print(IMAGES / name)


def record(command: list[str]) -> str:
    """Return everything that a command writes to a terminal. Raises `LabError` if it fails."""
    child = pexpect.spawn(
        command[0], command[1:], encoding="utf-8", dimensions=(50, WIDTH), timeout=300
    )
    child.expect(pexpect.EOF)
    child.close()
    if child.exitstatus != 0:
        raise LabError(f"The command ended with {child.exitstatus}: {child.before[-500:]}")
    return str(child.before)


def settled(output: str) -> str:
    """Return the lines that remain on the screen once progress bars have drawn over themselves."""
    lines, row, start = [""], 0, 0
    for control in _CONTROLS.finditer(output):
        lines[row] += output[start : control.start()]
        start = control.end()
        if control["what"] == "A":
            row = max(0, row - int(control["count"] or 1))
        elif control["what"] == "K":
            lines[row] = ""
        elif control[0].endswith("\n"):
            row += 1
            lines += [""] * (row == len(lines))
    lines[row] += output[start:]
    return "\n".join(lines)


def part(screen: str, heading: str) -> str:
    """Return the lines from a heading to the next one."""
    text = screen[screen.index(heading) :]
    return text.partition("\n")[2].partition("== ")[0].strip()


def draw(text: str) -> str:
    """Return an SVG of a terminal with `text`, which may have colours; it loads no fonts."""
    console = Console(file=StringIO(), record=True, width=WIDTH)
    console.print(Text.from_ansi(text), soft_wrap=False)
    return _FONTS.sub("", console.export_svg(title="make demo", unique_id="demo"))


if __name__ == "__main__":
    main()
