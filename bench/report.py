"""`python -m bench.report`: how long the report takes, how large it is, how soon it opens.

And whether it stays silent: containers of ten kinds in which nobody broke in have no findings.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import anyio
import click
from anyio import to_thread

from bench.page import GOAL_COLUMNS, Goal, goal, table
from bench.part import part_options, run_part
from bench.sink import ROOT
from collector.documents import streamed
from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Capture, Container, Node, OrderFacts, Tool
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.readers.findings.find import find
from forensics_core.storage.storage import open_destination
from lab.clean import CLEAN, clean_container
from lab.docker import DockerEngine, docker_engine
from lab.images import busybox_rootfs
from lab.process import LabError
from lab.slack_page.browser import Tab, browser_tab
from lab.tamper import tamper

MiB = 2**20
LARGE, QUICK_LARGE = 100_000, 1_000
QUICK_KINDS = ("busybox",)
_LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


@dataclass(frozen=True, slots=True)
class ReportCost:
    """What one report took."""

    seconds: float
    """To make it, with the start of the program."""
    size: int
    opened: float
    """Seconds until the browser had loaded it, with its scripts run."""
    peak: int
    """Bytes: the highest resident set of any report so far."""


@dataclass(frozen=True, slots=True)
class ReportMeasurement:
    """What was found out."""

    changes: int
    large: ReportCost
    small: ReportCost
    """Of a container like the demo's."""
    findings: dict[str, int]
    """In clean containers, by kind."""


@click.command()
@part_options("Little of all")
def main(quick: bool, docs: Path | None) -> None:
    """Measure the report, and write a table."""
    run_part(
        "performance.md",
        lambda folder: {"report": block(anyio.run(_measure, folder, quick))},
        quick=quick,
        docs=docs,
    )


def block(measured: ReportMeasurement) -> str:
    """Return the generated part of the page."""
    cpus = len(os.sched_getaffinity(0))
    setting = (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} on {cpus} CPUs: `forensics report` of a bundle "
        f"with {measured.changes:,} changes, and of a container like the demo's; the pages were "
        f"opened in Chromium. Clean containers: {', '.join(measured.findings)}."
    )
    return f"{setting}\n\n{table(GOAL_COLUMNS, _goals(measured))}"


def _goals(measured: ReportMeasurement) -> Iterator[list[str]]:
    large, small = measured.large, measured.small
    yield goal(Goal("seconds to make it, of many changes", 30), large.seconds)
    yield goal(Goal("its size in MiB", 25), large.size / MiB)
    yield goal(Goal("seconds until it is open", 2), large.opened)
    yield goal(Goal("peak MiB while it is made", 1024), large.peak / MiB)
    yield goal(Goal("seconds to make it, of a container like the demo's", 3), small.seconds)
    yield goal(Goal("its size in MiB, of such a container", 2), small.size / MiB)
    yield goal(Goal("findings in clean containers", 0), sum(measured.findings.values()))


async def _measure(folder: Path, quick: bool) -> ReportMeasurement:
    await to_thread.run_sync(_install)
    changes = QUICK_LARGE if quick else LARGE
    findings: dict[str, int] = {}
    async with docker_engine() as engine:
        os.environ.update(engine.env)
        await _write_many(folder / "many", changes)
        await _break_in(engine, folder)
        small = await _report(folder / "small")
        large = await _report(folder / "many")
        for name in QUICK_KINDS if quick else CLEAN:
            findings[name] = await _findings(engine, name)
    return ReportMeasurement(changes, large, small, findings)


def _install() -> None:
    ended = subprocess.run([ROOT / "lab/install.sh", "report"], capture_output=True, check=False)
    if ended.returncode:
        raise LabError(f"Chromium cannot be installed: {ended.stderr.decode().strip()}")


async def _write_many(folder: Path, changes: int) -> None:
    """Write a bundle with so many changes."""
    async with bundle_of(folder) as bundle:
        spec = ArtifactSpec("containers/web/diff.json", ArtifactKind.DIFF, "web")
        await bundle.add(spec, streamed({"method": "bench"}, "changes", _rows(changes)))


@asynccontextmanager
async def bundle_of(folder: Path) -> AsyncIterator[BundleWriter]:
    """Open a new bundle of one container, `web`, for the block."""
    when = datetime(2026, 8, 1, 10, 11, 12, tzinfo=UTC)
    order = OrderFacts(uid=UUID(int=1), attempt=1, sha256="0" * 64, destination="", bundle="")
    async with open_destination(str(folder)) as destination:
        bundle = BundleWriter(destination)
        yield bundle
        await bundle.finish(
            Capture(
                order=order,
                tool=Tool(version="bench"),
                node=Node(),
                started_at=when,
                finished_at=when,
                containers=(Container(name="web", container_id="bench"),),
            )
        )


async def _rows(changes: int) -> AsyncIterator[list[str]]:
    for number in range(changes):
        second = f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
        row = {
            "kind": "AACD"[number % 4],
            "path": f"/srv/shop/data/{number // 5000:03}/{number // 100 % 50:02}/{number:07}.json",
            "type": "file",
            "mode": "0644",
            "uid": 1000,
            "gid": 1000,
            "size": number * 37 % 90_000,
            "mtime": f"2026-07-{number % 28 + 1:02}T{second}.123456789Z",
            "ctime": f"2026-07-{number % 28 + 1:02}T{second}.987654321Z",
            "notes": [],
            "sha256": f"{number * 2654435761:064x}"[-64:],
        }
        yield [json.dumps(row)]


async def _break_in(engine: DockerEngine, folder: Path) -> None:
    """Capture a container like the demo's."""
    image = await engine.import_image(await to_thread.run_sync(busybox_rootfs, folder / "rootfs"))
    async with engine.container(image) as container:
        await tamper(engine, container)
        await _capture(container, folder, "small")


async def _capture(container: str, folder: Path, name: str) -> None:
    options = CaptureOptions(name=name, subpath="")
    await capture_container(f"docker://{container}", to=str(folder), options=options)


async def _report(bundle: Path) -> ReportCost:
    page = bundle.with_suffix(".html")
    program = str(Path(sys.executable).with_name("forensics"))
    command = [program, "report", str(bundle), "-o", str(page)]
    begun = time.monotonic()
    ended = await anyio.run_process(command, check=False)
    seconds = time.monotonic() - begun
    if ended.returncode:
        raise LabError(f"The report failed: {ended.stderr.decode().strip()}")
    size = (await anyio.Path(page).stat()).st_size
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    async with browser_tab() as tab:
        return ReportCost(seconds, size, await _open(tab, page), peak)


async def _open(tab: Tab, page: Path) -> float:
    await tab.open(page.as_uri())
    await tab.shows(".tree summary", within=60)
    return float(await tab.js(_LOADED)) / 1000


async def _findings(engine: DockerEngine, name: str) -> int:
    with TemporaryDirectory(prefix="bench-clean-") as place:
        folder = Path(place)
        async with clean_container(engine, CLEAN[name], folder) as container:
            await _capture(container, folder, "bundle")
        async with open_bundle(str(folder / "bundle")) as bundle:
            found = (await find(bundle)).findings
    for each in found:
        print(f"{name}: {each.rule}: {each.subject}: {each.detail}", file=sys.stderr)
    return len(found)


if __name__ == "__main__":
    main()
