from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.sink import ROOT


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A page without results."""
    page = (ROOT / "docs" / "performance.md").read_text()
    bare = re.sub(r"(<!-- bench:\S+ -->\n).*?(?=<!-- /bench -->)", r"\1", page, flags=re.DOTALL)
    (tmp_path / "performance.md").write_text(bare)
    return tmp_path
