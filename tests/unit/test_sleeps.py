"""A test waits for what it is about, and not for some time that is hoped to be enough."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = {
    "tests/waiting.py": "what must not happen can only be waited for",
    "tests/integration/storage/s3/test_odd_answers.py": "a store that is slow, and says so",
    "tests/integration/kube/scripted.py": "what was written has to get out of the kernel",
}
"""Where a sleep that is not a poll's may be, and why."""


def sleeps(source: str) -> Iterator[int]:
    """Yield the lines that sleep outside of a loop that looks for something."""
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(source), False)]
    while waiting:
        node, polls = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            polls = False
        polls = polls or isinstance(node, ast.While)
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr == "sleep" and not polls:
            yield called.lineno
        waiting += [(child, polls) for child in ast.iter_child_nodes(node)]


def test_nothing_but_a_poll_sleeps() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (lines := list(sleeps(path.read_text())))
    }
    assert found.keys() == NEEDED.keys(), "wait for an event, or until a condition holds"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import anyio\nasync def f():\n    await anyio.sleep(1)", [3]),
        ("while not done():\n    time.sleep(0.1)", []),
        ("for _ in range(3):\n    time.sleep(0.1)", [2]),
        ("while True:\n    def f():\n        time.sleep(1)", [3]),
    ],
)
def test_a_sleep_is_told_from_a_poll(source: str, lines: list[int]) -> None:
    assert list(sleeps(source)) == lines
