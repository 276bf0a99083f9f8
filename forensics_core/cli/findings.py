"""What `verify` and `fetch` print alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from forensics_core.bundle.verification import Problem
from forensics_core.cli.render import clean, prose, say

_EXTRAS = 20
"""Objects that nobody named which have a line each."""


def say_findings(problems: Iterable[Problem], notes: Iterable[str]) -> None:
    """Print a line for each problem, then one for each note."""
    for problem in problems:
        say(f"{problem.kind}: {clean(problem.name)}: {prose(problem.message)}")
    for note in notes:
        say(f"Note: {prose(note)}")


def findings(problems: Iterable[Problem], notes: Iterable[str]) -> dict[str, Any]:
    """Return the same for JSON."""
    return {"problems": [asdict(problem) for problem in problems], "notes": list(notes)}


def say_extras(extras: Sequence[str], total: int, *, intact: bool) -> None:
    """Print a line for each object that nobody named, the first of them."""
    what = "not part of the evidence" + (", which is intact" if intact else "")
    for name in extras[:_EXTRAS]:
        say(f"Extra: {clean(name)}: {what}")
    if total > _EXTRAS:
        say(f"Extra: {total - _EXTRAS} more: {what}")


def summary(verb: str, artifacts: int, size: int, manifest_sha256: str) -> str:
    """Return the last line: `Verified: 7 artifacts, 123 bytes, manifest sha256:...`."""
    what = "artifact" if artifacts == 1 else "artifacts"
    return f"{verb}: {artifacts} {what}, {size} bytes, manifest sha256:{manifest_sha256}"
