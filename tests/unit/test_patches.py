"""Our own code is never patched: what a test wants to be otherwise is a parameter of the code.

Of the standard library only what is listed here may be, and only where no real one can be had.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"forensics_core", "forensics_loopback", "collector", "slackbot", "lab", "bench", "tests"}
PATCHING = {"setattr", "delattr", "setitem", "delitem"}
"""Methods of a `MonkeyPatch`; those for the environment and for `sys.path` are anybody's to use."""
MOCKS = {"unittest.mock", "mock", "pytest_mock"}

WITHOUT_A_REAL_ONE = {
    "os.open": "no disk fails on demand, and no kernel runs out of descriptors",
    "os.listxattr": "no disk fails on demand",
    "os.getxattr": "no disk fails on demand",
    "os.lseek": "no disk fails on demand, and every kernel here knows holes",
    "os.link": "file systems without hard links are not to be had everywhere",
    "os.fsync": "no disk fails on demand",
    "os.geteuid": "a process cannot be somebody else for a while",
    "platform.machine": "this is no other machine",
    "ctypes.CDLL": "there is one C library",
    "ssl.create_default_context": "there is one Python",
    "socket.has_dualstack_ipv6": "there is one kernel",
    "sys.modules": "as where a package is not installed, which this test's own process has loaded",
}
"""What may be patched, and why."""

FILES = sorted(path for path in (ROOT / "tests").rglob("*.py") if "fixtures" not in path.parts)


def _names(tree: ast.Module) -> dict[str, str]:
    """Return what the imports of a file make of each name."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                names[each.asname or each.name.partition(".")[0]] = (
                    each.name if each.asname else each.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return names


def _spelled(node: ast.expr, names: dict[str, str]) -> str:
    """Return the dotted name of what is patched; of anything else, its source."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Attribute):
        return f"{_spelled(node.value, names)}.{node.attr}"
    if isinstance(node, ast.Name):
        return names.get(node.id, f"<{node.id}>")
    return f"<{ast.unparse(node)}>"


def patches(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the target of each patch in a test's source."""
    tree = ast.parse(source)
    names = _names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [each.name for each in node.names]
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from ((node.lineno, name) for name in modules if name in MOCKS)
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr not in PATCHING or not node.args:
            continue
        target, *rest = (_spelled(each, names) for each in node.args[:2])
        whole = isinstance(node.args[0], ast.Constant) or node.func.attr.endswith("item")
        yield node.lineno, target if whole or not rest else f"{target}.{rest[0]}"


def _all() -> list[tuple[str, str]]:
    return [
        (f"{path.relative_to(ROOT)}:{line}", target)
        for path in FILES
        for line, target in patches(path.read_text())
    ]


def test_nothing_of_ours_is_patched() -> None:
    """Make it a parameter, or a field of a settings object, or use a real part."""
    assert not [each for each in _all() if each[1].partition(".")[0] in OURS]


def test_what_is_patched_is_listed_and_what_is_listed_is_patched() -> None:
    found = _all()
    assert not [each for each in found if each[1] not in WITHOUT_A_REAL_ONE]
    assert {target for _, target in found} == WITHOUT_A_REAL_ONE.keys()


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (
            "from collector import limits as l\nmonkeypatch.setattr(l, 'NICENESS', 1)",
            "collector.limits.NICENESS",
        ),
        ("monkeypatch.setattr('slackbot.bot.X', 1)", "slackbot.bot.X"),
        ("import os\nwith monkeypatch.context() as m:\n    m.setattr(os, 'open', 1)", "os.open"),
        ("import collector.cli\nm.delattr(collector.cli.collect, 'x')", "collector.cli.collect.x"),
        ("from unittest.mock import patch", "unittest.mock"),
        ("m.setattr(made(), 'x', 1)", "<made()>.x"),
    ],
)
def test_every_way_to_patch_is_seen(source: str, target: str) -> None:
    assert [found for _, found in patches(source)] == [target]
