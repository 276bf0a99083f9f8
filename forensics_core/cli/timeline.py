"""`forensics timeline`: all times of all sources in one order."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from anyio import to_thread

from forensics_core.cli.options import containers_option, opened_bundle, owner_option
from forensics_core.cli.outputs import kind_of, opened_output
from forensics_core.cli.program import run
from forensics_core.cli.render import clean_message
from forensics_core.errors import UsageError

if TYPE_CHECKING:
    from forensics_core.bundle.manifest import Clocks
    from forensics_core.bundle.reader import BundleReader
    from forensics_core.readers.notes import Notes
    from forensics_core.readers.timeline.entry import TimelineEntry
    from forensics_core.readers.timeline.timeline import Filter

FORMATS = ("table", "bodyfile", "timesketch", "csv")
KINDS = {".txt": "table", ".body": "bodyfile", ".jsonl": "timesketch", ".csv": "csv"}
"""Formats, by the ending of a file's name."""
CLOCKS = ("store", "node")
_AT_ONCE = 1_000
"""Lines of a bodyfile."""


@click.command("timeline", short_help="Show all times of a bundle in one order.")
@click.argument("location")
@click.option(
    "--format",
    "layout",
    type=click.Choice(FORMATS),
    help="For people, mactime and plaso, Timesketch, or a spreadsheet.  [default: table, or what "
    "the name of the file says]",
)
@click.option(
    "-o", "--output", metavar="FILE",
    help="Where to: a file that ends in .txt, .body, .jsonl or .csv, or 'json' for one document.",
)  # fmt: skip
@containers_option("Only of this one")
@click.option("--since", metavar="TIME", help="From then on: 2026-08-01T10:00:00Z; UTC by default.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option(
    "--changes-only", is_flag=True, help="Of files only those that differ from the image."
)
@click.option(
    "--around", metavar="PATH", help="Only what happened about when this file was touched."
)
@click.option(
    "--window", type=click.IntRange(0), default=300, show_default=True, metavar="SECONDS",
    help="With --around: how many seconds about.",
)  # fmt: skip
@click.option(
    "--clock", type=click.Choice(CLOCKS), default=CLOCKS[0], show_default=True,
    help="Whose clock the node's times are shown by, where both disagree.",
)  # fmt: skip
@owner_option
def timeline_command(
    location: str,
    layout: str | None,
    output: str | None,
    containers: tuple[str, ...],
    since: str | None,
    until: str | None,
    changes_only: bool,
    around: str | None,
    window: int,
    clock: str,
    expected_bucket_owner: str | None,
) -> None:
    """Show when what happened in the bundle at LOCATION, as far as anything in it tells.

    Files (modified, accessed, status changed, created: m.a.c.b), processes, sessions, connections,
    log lines, the cluster's events, containers, and the capture itself. Nothing is sorted in
    bodyfile, mactime does that.

    What cannot be read is named on the standard error at the end. Where something of it is not what
    the manifest says, the exit code is 3.
    """
    from forensics_core.readers.timeline.entry import SECOND
    from forensics_core.readers.timeline.timeline import Filter

    wanted = Filter(
        containers=containers,
        since=_parse_time(since),
        until=_parse_time(until),
        changes_only=changes_only,
        around=around or "",
        window=window * SECOND,
    )
    _check(wanted)
    layout = _layout(layout, output, wanted)
    file = Path(output) if output and output != "json" else None
    with opened_output(file) if file else nullcontext(sys.stdout) as out:
        work = partial(_print, location, expected_bucket_owner, layout, wanted, clock, out)
        genuine = run(work)
    if file:
        click.echo(f"The timeline is in {clean_message(str(file))}", err=True)
    if not genuine:
        raise click.exceptions.Exit(3)


def _layout(layout: str | None, output: str | None, wanted: Filter) -> str:
    """Return the format to write. Raises `UsageError` for one that does not fit what is asked."""
    if output == "json" and layout:
        raise UsageError("-o json is a format itself", hint="Leave out --format")
    if output == "json":
        return "json"
    if not layout:
        layout = kind_of(output, KINDS, "timeline") if output else "table"
    is_cut = wanted.around or (wanted.since, wanted.until) != (None, None)
    if layout == "bodyfile" and is_cut:
        raise UsageError(
            "A bodyfile has all times of a file in one line: it cannot be cut by time",
            hint="Give --since and --until to mactime, or take another --format",
        )
    return layout


def _check(wanted: Filter) -> None:
    """Refuse what can find nothing. Raises `UsageError`."""
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise UsageError("--since is not before --until", hint="--until itself is left out")
    if wanted.around and not wanted.around.startswith("/"):
        raise UsageError(
            f"'{wanted.around}' is not an absolute path", hint="Name it as /etc/passwd, say"
        )


def _parse_time(text: str | None) -> int | None:
    from forensics_core.readers.timeline.entry import from_stamp

    if text is None:
        return None
    # A day alone begins at midnight, for both ends: `--until` is before then.
    day = f"{text}T00:00:00Z" if len(text) == len("2026-08-01") else text
    moment = from_stamp(day, whole=True)
    if moment is None:
        raise UsageError(f"'{text}' is not a valid time", hint="Write it as 2026-08-01T10:00:00Z")
    return moment


async def _print(
    location: str, owner: str | None, layout: str, wanted: Filter, clock: str, out: TextIO
) -> bool:
    """Print what is wanted; return whether all of it is genuine."""
    from forensics_core.readers.clocks import correction
    from forensics_core.readers.notes import Notes

    notes = Notes()
    async with opened_bundle(location, owner) as bundle:
        clocks = bundle.statement.predicate.clocks
        if clock == "store":
            wanted = replace(wanted, ahead=correction(clocks))
        notes.missing += _skew_notes(clocks, clock)
        lines = _bodyfile if layout == "bodyfile" else partial(_entries, layout=layout)
        async for text in lines(bundle, wanted, notes):
            # A batch at a time: `click.echo` flushes, and there are millions of lines. In a thread:
            # a pager that stands still must not keep signals from being heard.
            await to_thread.run_sync(out.write, text)
    # At the end, as it shows while the entries are read.
    for line in notes.missing:
        click.echo(f"Note: {clean_message(line)}", err=True)
    return not notes.not_genuine


def _skew_notes(clocks: Sequence[Clocks], clock: str) -> list[str]:
    from forensics_core.readers.clocks import correction, disagreement
    from forensics_core.readers.timeline.entry import SECOND

    told, ahead = disagreement(clocks), correction(clocks) // SECOND
    if not told:
        return []
    if clock == "node":
        return [f"{told}: times that the node gave are shown as it had them"]
    where = "earlier" if ahead > 0 else "later"
    shown = f"times that the node gave are shown {abs(ahead):,} s {where}"
    return [f"{told}: {shown}; '--clock node' shows them as it had them"]


async def _entries(
    bundle: BundleReader, wanted: Filter, notes: Notes, *, layout: str
) -> AsyncIterator[str]:
    from forensics_core.readers.timeline import formats
    from forensics_core.readers.timeline.timeline import timeline

    line = partial(formats.timesketch_line, ahead=wanted.ahead)
    writers: dict[str, Callable[[TimelineEntry], str]] = {
        "table": formats.table_line,
        "timesketch": line,
        "json": line,
        "csv": lambda entry: formats.csv_line(formats.csv_cells(entry)),
    }
    write, before = writers[layout], ""
    if layout == "csv":
        yield formats.csv_line(formats.CSV_HEAD) + "\n"
    elif layout == "json":
        yield f'{{"location": {json.dumps(bundle.url)}, "entries": ['
    async for batch in timeline(bundle, wanted, notes):
        if layout == "json":
            yield before + ",".join(f"\n{write(entry)}" for entry in batch)
            before = ","
        else:
            yield "".join(f"{write(entry)}\n" for entry in batch)
    if layout == "json":
        rest = {"missing": notes.missing, "genuine": not notes.not_genuine}
        yield f"\n], {json.dumps(rest)[1:]}\n"


async def _bodyfile(bundle: BundleReader, wanted: Filter, notes: Notes) -> AsyncIterator[str]:
    from forensics_core.readers.timeline import formats
    from forensics_core.readers.timeline.timeline import bodyfile

    lines = list[str]()
    async with aclosing(bodyfile(bundle, wanted, notes)) as found:
        async for container, each in found:
            lines.append(formats.bodyfile_row(each, container) + "\n")
            if len(lines) == _AT_ONCE:
                yield "".join(lines)
                lines.clear()
    yield "".join(lines)
