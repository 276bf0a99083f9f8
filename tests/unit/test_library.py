"""What is public: its list, its table in the documents, its examples, its errors."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

import forensics_core
from forensics_core import errors
from forensics_core.capture import _collector, capture_container
from forensics_core.checkpoints import CheckpointOptions
from forensics_core.checkpoints.options import spec_of
from forensics_core.errors import ForensicsError, UsageError
from tests.docstrings import example, run_example

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "docs" / "library.md"
MODULES = ("checkpoints", "bundles", "capture", "seals", "models", "errors")
ROOMS = {"api", "bundle", "cli", "kube", "operator", "pipeline", "readers", "service", "storage"}
ROOMS |= {"tarindex", "_internal"}


def public_names(module: str) -> list[str]:
    """Return what a public module offers."""
    loaded = importlib.import_module(f"forensics_core.{module}")
    if module == "errors":
        return sorted(name for name, value in vars(loaded).items() if inspect.isclass(value))
    return sorted(loaded.__all__)


def test_the_package_holds_public_modules_rooms_and_nothing_else() -> None:
    folder = ROOT / "forensics_core"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "version"}
    folders = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert modules | (folders - ROOMS) == set(MODULES)
    assert folders >= ROOMS


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_table_with_its_meaning(module: str) -> None:
    text = LIBRARY.read_text()
    section = text.partition(f"### `forensics_core.{module}`\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|$", section, re.MULTILINE)
    assert sorted(name for name, _ in rows) == public_names(module)
    assert all(meaning.strip() for _, meaning in rows)


def test_every_name_of_the_package_is_in_the_table() -> None:
    text = LIBRARY.read_text()
    named = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert set(forensics_core.__all__) - {"__version__"} <= named


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_the_document_shows_the_examples_as_they_are(script: Path) -> None:
    code = script.read_text().partition("\n\n")[2].strip()
    assert f"```python\n{code}\n```" in LIBRARY.read_text()


@pytest.mark.parametrize("module", MODULES)
def test_a_public_module_opens_with_an_example_that_imports_from_it(module: str) -> None:
    code = example(f"forensics_core.{module}")
    tree = compile(code, module, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    imports = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imports == [f"forensics_core.{module}"]


@pytest.mark.parametrize("module", ["seals", "models", "errors"])
async def test_the_example_of_a_module_that_needs_nothing_runs(module: str) -> None:
    assert await run_example(f"forensics_core.{module}", {})


def test_importing_the_package_loads_nothing_else() -> None:
    program = (
        "import sys; a = set(sys.modules); import forensics_core; print(*set(sys.modules) - a)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    loaded = {name for name in done.stdout.split() if name.partition(".")[0] == "forensics_core"}
    assert loaded == {"forensics_core", "forensics_core.version"}
    assert not {"pydantic", "aioboto3", "kubernetes_asyncio"} & set(done.stdout.split())


def test_an_error_says_what_and_why_and_what_to_do() -> None:
    error = errors.CheckpointFailed("It failed", hint="Look", reason="NotSealed")
    assert (error.reason, error.hint, str(error)) == ("NotSealed", "Look", "It failed. Look.")
    assert errors.NotFound("Gone").reason == "NotFound"


async def test_a_capture_that_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one runtime"):
        await capture_container("docker://web", "containerd://web", to=str(tmp_path))
    with pytest.raises(UsageError, match="location"):
        await capture_container("docker://web", to="ftp://cases", artifacts=["diff"])


def test_an_option_of_a_checkpoint_that_nobody_knows_is_named() -> None:
    given = cast(CheckpointOptions, {"reson": "mistyped"})
    with pytest.raises(UsageError, match="reson"):
        spec_of(given, pod="web-0")


def test_without_the_collector_it_says_what_to_install() -> None:
    with pytest.raises(ForensicsError, match=r"collector.*not installed.*pip install"):
        _collector("nobody.installed.this")
