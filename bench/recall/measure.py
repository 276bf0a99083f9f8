"""One run: a container, the contestants on it in turn, and what became of each trace."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from anyio import to_thread

from bench.recall.contestants import CONTESTANTS, OURS, Contestant, ToolResult
from bench.recall.findings import findings_of, seen
from bench.recall.judge import TraceVerdict, judge
from bench.recall.outputs import streams
from lab.containerd import Containerd
from lab.docker import DockerEngine
from lab.intruder.container import IntrudedContainer, intruded


@dataclass(slots=True)
class Round:
    """What came out on one runtime."""

    runtime: str
    refused: dict[str, str]
    """What could not be planted here, and why."""
    verdicts: dict[str, list[TraceVerdict]] = field(default_factory=dict)
    """By the contestants' names."""
    seconds: dict[str, float] = field(default_factory=dict)
    """That each of them took."""
    size: dict[str, int] = field(default_factory=dict)
    """Bytes that each of them left."""
    titles: dict[str, str] = field(default_factory=dict)
    """Of the traces, by their ids."""
    seen: dict[str, bool] = field(default_factory=dict)
    """Whether the rules of the report saw a trace, of those that have a rule; by their ids."""
    failed: dict[str, str] = field(default_factory=dict)
    """Who brought nothing home, or not all that it could, and why."""


LineWriter = Callable[[str], None]


async def measure(
    runtime: str,
    folder: Path,
    names: Collection[str] = (),
    engine: DockerEngine | Containerd | None = None,
) -> Round:
    """Plant the traces on a runtime, and let the contestants of these names, or all, look for them.

    Raises `LabError` if the container cannot be made; a tool that fails is a result.
    """
    chosen = [each for each in CONTESTANTS if each.name in names or not names]
    async with intruded(runtime, folder, engine) as container:
        found = Round(runtime, dict(container.refused))
        found.titles = {each.trace.id: each.trace.title for each in container.planted}
        for contestant in chosen:
            if contestant.runtimes and runtime not in contestant.runtimes:
                found.failed[contestant.name] = f"It knows Docker only, not {runtime}."
                continue
            await to_thread.run_sync(_run, contestant, container, folder, found)
    return found


def _run(contestant: Contestant, container: IntrudedContainer, folder: Path, found: Round) -> None:
    with TemporaryDirectory(dir=folder) as name:
        result = contestant.run(container, Path(name))
        if result.failed:
            found.failed[contestant.name] = result.failed
            print(f"{contestant.name}: {result.failed}", file=sys.stderr, flush=True)
        if size := result.size:
            found.seconds[contestant.name], found.size[contestant.name] = result.seconds, size
            found.verdicts[contestant.name] = judged(contestant, container, result)
        if contestant.name == OURS and not result.failed:
            found.seen = seen(container.planted, findings_of(result.folder))


def judged(
    contestant: Contestant, container: IntrudedContainer, result: ToolResult
) -> list[TraceVerdict]:
    """Return what became of each trace in what a contestant left."""
    outputs = (
        (name, source) for name, source in streams(result.folder) if contestant.is_evidence(name)
    )
    return judge(container.planted, outputs, contestant.remarks(result))
