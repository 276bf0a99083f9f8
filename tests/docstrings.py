"""The example that a public module opens with, run as it stands but for its names."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any


def example(module: str) -> str:
    """Return the code that a module's docstring opens with."""
    document = importlib.import_module(module).__doc__ or ""
    lines = document.partition("::\n\n")[2].splitlines()
    length = next((n for n, line in enumerate(lines) if line and line[0] != " "), len(lines))
    return textwrap.dedent("\n".join(lines[:length]))


async def run_example(module: str, replaced: Mapping[str, str]) -> dict[str, Any]:
    """Run it with some of its text replaced, in the loop of the test; return what it defines."""
    code = example(module)
    for old, new in replaced.items():
        assert old in code
        code = code.replace(old, new)
    names: dict[str, Any] = {}
    compiled = compile(code, module, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, names)  # noqa: S307 - our own docstring
    if inspect.isawaitable(result):
        await result
    return names
