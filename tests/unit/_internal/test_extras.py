"""Without its extra a command says which one it needs. Each runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from forensics_core._internal.extras import needing
from forensics_core.errors import ForensicsError

ROOT = Path(__file__).parents[3]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
BLOCKED = """
import sys
for name in {blocked}:
    sys.modules[name] = None
from {module} import {function}
sys.argv = {arguments}
{function}()
"""


def run_without(blocked: list[str], script: str, *arguments: str) -> tuple[int, str]:
    """Run a console script where some modules cannot be imported; return its code and its error."""
    module, _, function = SCRIPTS[script].partition(":")
    program = BLOCKED.format(
        blocked=blocked, module=module, function=function, arguments=[script, *arguments]
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "module", "extra"),
    [
        ("forensics-operator", ["--help"], "kubernetes_asyncio", "operator"),
        ("forensics-operator", ["--help"], "prometheus_client", "operator"),
        ("forensics-operator", ["--help"], "yaml", "operator"),
        ("forensics-slackbot", ["--help"], "slack_bolt", "slack"),
        ("forensics", ["list"], "kubernetes_asyncio", "operator"),
        ("forensics", ["checkpoint", "web-0"], "kubernetes_asyncio", "operator"),
        ("forensics", ["crd"], "yaml", "operator"),
        ("forensics", ["watch", "web-0"], "yaml", "operator"),
    ],
)
def test_a_command_without_its_extra_says_so_in_one_line(
    script: str, arguments: list[str], module: str, extra: str
) -> None:
    code, said = run_without([module], script, *arguments)
    assert (code, len(said.splitlines())) == (1, 1), said
    assert said.startswith("Error: ") and f"'{module}', which is not installed" in said
    assert f"pip install '.[{extra}]'" in said


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_a_script_with_all_it_needs_runs(script: str) -> None:
    assert run_without([], script, "--help") == (0, "")


def test_evidence_is_read_without_any_extra() -> None:
    extras = ["kubernetes_asyncio", "yaml", "slack_bolt", "aiodocker", "grpclib"]
    code, said = run_without(extras, "forensics", "verify", "/nonexistent")
    assert (code, said.startswith("Error: There is nothing at")) == (1, True), said


def test_a_missing_module_of_our_own_is_no_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError), needing("operator", "x"):
        import_module("forensics_core.nothing")
    with pytest.raises(ForensicsError, match="x needs 'nothing_else'"), needing("operator", "x"):
        import_module("nothing_else.at_all")


@pytest.mark.parametrize("module", ["cel", "jsonpatch"])
def test_the_loopback_cluster_without_its_extra_says_so(module: str) -> None:
    program = f"import sys; sys.modules[{module!r}] = None; import forensics_loopback"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert f"The loopback cluster needs '{module}'" in last and "pip install '.[loopback]'" in last
