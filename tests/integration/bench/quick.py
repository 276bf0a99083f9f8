"""Short runs of a benchmark's parts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.sink import ROOT


def quick_page(part: str, folder: Path, document: str = "performance.md") -> str:
    """Run `python -m bench.PART --quick`; return the document with what it has measured."""
    shutil.copy(ROOT / "docs" / document, folder)
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{part}", "--quick", "--docs", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return (folder / document).read_text()
