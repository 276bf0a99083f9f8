"""`python -m bench.soak`: capture again and again in one process, and look for leaks.

Every third capture is cancelled on its way. In the end nothing may be left over: no open file, no
child process, no upload; and memory must not go on growing.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import anyio
import click
from anyio import to_thread

from bench.processes import children
from bench.sink import RemoteSink, remote_sink
from bench.subjects import QUICK, Contents, running_container
from collector.local import capture_container
from forensics_core.errors import ForensicsError
from lab.docker import running_docker_engine
from lab.images import MiB
from lab.process import LabError, end_politely

CONTENTS = Contents(files=2_000, small=25 * MiB, zeros=64 * MiB)
GROWTH = 16 * MiB
"""Bytes that memory may grow by between the second quarter of the captures and the last."""
WARM = 100
"""Captures after which memory says something: before, allocators and caches still fill."""
CANCEL_EVERY = 3
SETTLING = 30
"""Seconds in which all has to be given back after the last capture."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What there was after a capture."""

    cancelled: bool
    seconds: float
    """That the capture took."""
    rss: int
    """Bytes of this process's memory."""
    descriptors: int
    """Open files of this process."""
    children: int
    """Living child processes."""
    tasks: int
    """Tasks of the event loop."""
    uploads: int
    """Multipart uploads that S3 still holds open."""


@click.command()
@click.option("--minutes", type=click.FloatRange(0), default=10, show_default=True)
@click.option("--quick", is_flag=True, help="Six captures of a tiny container.")
def main(minutes: float, quick: bool) -> None:
    """Capture again and again, and fail if something is not given back."""
    end_politely()
    try:
        samples = _soak(QUICK if quick else CONTENTS, 0 if quick else minutes * 60)
        print(summary(samples))
        if found := leaks(samples):
            raise LabError("; ".join(found))
    except ForensicsError as error:
        raise click.ClickException(str(error)) from error


def leaks(samples: Sequence[Sample]) -> list[str]:
    """Return what was not given back, in words; nothing if all is well."""
    first, last = samples[0], samples[-1]
    counts = (
        ("open files", first.descriptors, last.descriptors),
        ("child processes", first.children, last.children),
        ("tasks", first.tasks, last.tasks),
        ("open uploads", 0, last.uploads),
    )
    found = [f"{what}: {was} became {now}" for what, was, now in counts if now > was]
    growth = _growth(samples)
    if len(samples) >= WARM and growth > GROWTH:
        found.append(f"memory grew by {growth / MiB:.0f} MiB")
    return found


def summary(samples: Sequence[Sample]) -> str:
    """Return one line on all captures."""
    cancelled = sum(sample.cancelled for sample in samples)
    whole = median(sample.seconds for sample in samples if not sample.cancelled)
    last = samples[-1]
    return (
        f"{len(samples)} captures, {cancelled} of them cancelled; {whole:.2f} s each; memory "
        f"{last.rss / MiB:.0f} MiB, grew by {_growth(samples) / MiB:.1f} MiB; {last.descriptors} "
        f"open files, {last.children} child processes, {last.tasks} tasks, {last.uploads} open "
        "uploads"
    )


def _growth(samples: Sequence[Sample]) -> float:
    """Return how much more memory the last quarter had than the second: the first warms up."""
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:]
    return median(sample.rss for sample in late) - median(sample.rss for sample in early)


def _soak(contents: Contents, seconds: float) -> list[Sample]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="soak-")))
        engine = stack.enter_context(running_docker_engine())
        sink = stack.enter_context(remote_sink())
        container = stack.enter_context(running_container(engine, contents, folder))
        _use_only({**engine.env, **sink.env})
        return anyio.run(capture_repeatedly, container, sink, seconds)


def _use_only(settings: Mapping[str, str]) -> None:
    """Set environment variables, and keep the user's own cloud accounts out."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(settings)


async def capture_repeatedly(container: str, sink: RemoteSink, seconds: float) -> list[Sample]:
    """Capture until the time is up, at least twice in each way; return what there was after each.

    Docker's and AWS's variables lead to engine and endpoint. Raises `LabError` for a partial one.
    """
    chance = random.Random(1)  # noqa: S311  # reproducible, not secret
    samples: list[Sample] = []
    end = time.monotonic() + seconds
    usual = 0.0
    while time.monotonic() < end or len(samples) < 2 * CANCEL_EVERY:
        number = len(samples) + 1
        limit = None if number % CANCEL_EVERY else usual * chance.random()
        started = time.perf_counter()
        cancelled = await _capture(container, f"s3://soak/{number}", limit)
        taken = time.perf_counter() - started
        usual = usual if cancelled else taken
        tasks = len(asyncio.all_tasks())
        samples.append(await to_thread.run_sync(_sample, cancelled, taken, tasks, sink))
        if number % 10 == 0:
            print(summary(samples), file=sys.stderr, flush=True)
    # Threads that a cancelled capture left behind end by themselves, a little later.
    with anyio.move_on_after(SETTLING):
        while leaks(samples):
            await anyio.sleep(0.1)
            was, tasks = samples[-1], len(asyncio.all_tasks())
            samples[-1] = await to_thread.run_sync(_sample, was.cancelled, was.seconds, tasks, sink)
    return samples


async def _capture(container: str, to: str, limit: float | None) -> bool:
    """Capture once, for `limit` seconds at most; return whether that cut it off."""
    with anyio.move_on_after(limit) as scope:
        result = await capture_container(f"docker://{container}", to=to)
        if result.partial:
            gaps = "; ".join(gap.message for gap in result.statement.predicate.not_captured)
            raise LabError(f"A capture is partial: {gaps}")
    return scope.cancelled_caught


def _sample(cancelled: bool, seconds: float, tasks: int, sink: RemoteSink) -> Sample:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Sample(
        cancelled=cancelled,
        seconds=seconds,
        rss=pages * os.sysconf("SC_PAGE_SIZE"),
        descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
        children=len(children(os.getpid())),
        tasks=tasks,
        uploads=sink.counts().uploads,
    )


if __name__ == "__main__":
    main()
