"""`forensics incident INC report`: what all evidence of an incident tells, with a page for each."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click
from anyio import to_thread

from forensics_core._internal.tasks import task_group
from forensics_core.cli.cluster import ClusterAccess, cluster_options
from forensics_core.cli.incident_status import summary_of
from forensics_core.cli.options import opened_bundle, owner_option, print_traffic, whole_size
from forensics_core.cli.outputs import kind_of
from forensics_core.cli.program import run
from forensics_core.cli.render import clean_message, counted, print_text
from forensics_core.cli.report import KINDS, write_report
from forensics_core.errors import ForensicsError, UsageError

if TYPE_CHECKING:
    from forensics_core.api.incident import PodSummary
    from forensics_core.readers.report.content import ReportContent
    from forensics_core.readers.report.incident import IncidentContent, PodReport
    from forensics_core.storage.objects import Traffic

AT_ONCE = 2
"""Bundles that are read at a time: each may take some 100 MiB meanwhile."""
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Output:
    """Where the report goes."""

    name: str
    kind: str
    """Of the one file, as `KINDS` calls it; empty where it is a folder."""
    owner: str | None
    key: bytes | None
    traffic: Traffic
    """What is fetched of all bundles together."""
    sizes: list[int] = field(default_factory=list)
    """Of the bundles, in bytes."""

    @property
    def folder(self) -> Path | None:
        """The folder that gets a page for each bundle, too; None where it is one file."""
        return None if self.kind else Path(self.name)


@click.command("report", short_help="Write what all evidence of the incident tells.")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR|FILE",
    help="A folder for index.html and a page for each bundle, or only one file: report.html, "
    "report.md, report.json, or 'json' for the standard output.",
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The public key, in PEM, that the seals must hold for.",
)
@owner_option
@cluster_options
@click.pass_obj
def incident_report_command(
    incident: str,
    /,
    output: str,
    key: Path | None,
    expected_bucket_owner: str | None,
    access: ClusterAccess,
) -> None:
    """Write what the evidence of all pods of the incident tells, findings by rule over all of them.

    It reads the bundles that the incident's checkpoints name, and verifies what it reads: where
    something is not as a manifest says, the report names it, and the exit code is 3. A bundle that
    cannot be read is named, and the exit code is 1.
    """
    from forensics_core.storage.objects import Traffic

    public_key = key.read_bytes() if key else None
    place = Output(output, _kind(output), expected_bucket_owner, public_key, Traffic())
    report = run(partial(_report, incident, access, place))
    print_traffic(place.traffic, sum(place.sizes))
    # Once the report is there: it says what is not genuine.
    if report.not_genuine:
        raise click.exceptions.Exit(3)
    if report.unread:
        told = counted(len(report.unread), "bundle")
        raise ForensicsError(
            f"{told} could not be read", hint="The report is there, and says why of each"
        )


def _kind(output: str) -> str:
    """Return what kind of report is wanted; empty for a folder. Raises `UsageError`."""
    if output == "json":
        return "json"
    path = Path(output)
    if path.is_dir() or output.endswith("/") or not path.suffix:
        return ""
    return kind_of(output, KINDS, "report", or_folder=True)


async def _report(incident: str, access: ClusterAccess, place: Output) -> IncidentContent:
    from forensics_core.readers.report.incident import IncidentContent

    summary = await summary_of(incident, access)
    if place.folder is not None:
        await anyio.Path(place.folder).mkdir(parents=True, exist_ok=True)
    limiter = anyio.CapacityLimiter(AT_ONCE)
    pods = [_row(pod) for pod in summary.pods]
    async with task_group() as tasks:
        for row, pod in zip(pods, summary.pods, strict=True):
            if row.location:
                tasks.start_soon(_read, row, _file_name(pod), place, limiter)
    report = IncidentContent(incident, pods)
    await _write(report, place)
    return report


def _row(pod: PodSummary) -> PodReport:
    from forensics_core.readers.report.incident import PodReport

    state = f"{pod.phase}: {pod.reason}" if pod.reason else str(pod.phase)
    return PodReport(pod.name, state, pod.checkpoint.evidence_location)


def _file_name(pod: PodSummary) -> str:
    """Return the name of a pod's own page; a checkpoint's name tells those of one name apart."""
    name = f"{pod.name.replace('/', '_')[:120]}_{pod.checkpoint.metadata.name[:80]}"
    return f"{_UNFIT.sub('-', name)}.html"


async def _read(row: PodReport, file: str, place: Output, limiter: anyio.CapacityLimiter) -> None:
    from forensics_core.readers.report.page import page

    async with limiter:
        try:
            async with _story(row.location, place) as story:
                row.read(story)
                if place.folder is not None:
                    path = place.folder / file
                    await to_thread.run_sync(write_report, path, page(story))
                    row.link = file
        except UsageError:
            raise  # as for a key that is none: it is the same for all
        # One bundle that is away hides none of the others.
        except ForensicsError as error:
            row.problem = str(error)


@asynccontextmanager
async def _story(location: str, place: Output) -> AsyncIterator[ReportContent]:
    from forensics_core.readers.report.content import read_content

    async with opened_bundle(location, place.owner, place.traffic) as bundle:
        place.sizes.append(whole_size(bundle))
        yield await read_content(bundle, place.key)


async def _write(report: IncidentContent, place: Output) -> None:
    from forensics_core.readers.report.incident import incident_json, incident_markdown
    from forensics_core.readers.report.incident_page import incident_page

    if place.name == "json":
        print_text(json.dumps(incident_json(report), indent=2))
        return
    path = place.folder / "index.html" if place.folder else Path(place.name)
    if place.kind == "json":
        pieces = iter([json.dumps(incident_json(report), indent=2) + "\n"])
    else:
        markdown = place.kind == "markdown"
        pieces = iter([incident_markdown(report)]) if markdown else incident_page(report)
    await to_thread.run_sync(write_report, path, pieces)
    click.echo(f"The report is in {clean_message(str(path))}", err=True)
