"""docs/evidence.md names tests that exist, and every reason that a gap can have."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/evidence.md").read_text()
_CALLS = re.compile(
    r'(?:record_gap|NotCaptured|Unavailable|Fate|Loss|missing)\([^()]*?"([A-Z][a-z]+[A-Za-z]*)"'
    r'|reason="([A-Z][A-Za-z]+)"'
)
_OF_OTHERS = {"ManifestFound", "Mount", "MISSING"}


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 25
    for file, test in named:
        assert (ROOT / file).is_file(), file
        assert not test or test in functions_of(ROOT / file), f"{file}::{test}"


def test_every_reason_of_a_gap_is_named() -> None:
    found = set()
    for file in (ROOT / "collector").rglob("*.py"):
        found |= {one or other for one, other in _CALLS.findall(file.read_text())}
    told = set(re.findall(r"`([A-Z][A-Za-z]+)`", PAGE))
    assert found - told - _OF_OTHERS == set()
    assert len(found) > 12
