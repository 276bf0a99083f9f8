"""What `verify` and `fetch` print alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from forensics_core.cli.render import clean, prose, say
from forensics_core.evidence.problems import Problem


def say_findings(problems: Iterable[Problem], notes: Iterable[str]) -> None:
    """Print a line for each problem, then one for each note."""
    for problem in problems:
        say(f"{problem.kind}: {clean(problem.name)}: {prose(problem.message)}")
    for note in notes:
        say(f"Note: {prose(note)}")


def findings(problems: Iterable[Problem], notes: Iterable[str]) -> dict[str, Any]:
    """Return the same for JSON."""
    return {"problems": [asdict(problem) for problem in problems], "notes": list(notes)}


def summary(verb: str, artifacts: int, size: int, manifest_sha256: str) -> str:
    """Return the last line: `Verified: 7 artifacts, 123 bytes, manifest sha256:...`."""
    what = "artifact" if artifacts == 1 else "artifacts"
    return f"{verb}: {artifacts} {what}, {size} bytes, manifest sha256:{manifest_sha256}"
