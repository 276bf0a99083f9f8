"""`forensics report`: a bundle's story on one page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from forensics_core.cli.options import opened_bundle, owner_option, traffic_as_json, whole_size
from forensics_core.cli.outputs import kind_of, opened_output
from forensics_core.cli.program import run
from forensics_core.cli.render import clean_message, print_text

KINDS = {".html": "html", ".md": "markdown", ".json": "json"}
"""Of reports, by the ending of a file's name."""


@click.command("report", short_help="Write what a bundle tells on one page.")
@click.argument("location")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    help="Where to: report.html, report.md, report.json, or 'json' for the standard output.",
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The public key, in PEM, that the bundle's seal must hold for.",
)
@owner_option
def report_command(
    location: str, output: str, key: Path | None, expected_bucket_owner: str | None
) -> None:
    """Write what the bundle at LOCATION tells: findings, what changed, what ran, what is missing.

    A finding says what was seen, and names the technique of MITRE ATT&CK that it can be a trace of.
    The page is one file that needs no network. What is read is verified: where something is not as
    the manifest says, the report names it, and the exit code is 3.
    """
    kind = "json" if output == "json" else kind_of(output, KINDS, "report")
    public_key = key.read_bytes() if key else None
    run(partial(_report, location, expected_bucket_owner, output, kind, public_key))


async def _report(
    location: str, owner: str | None, output: str, kind: str, key: bytes | None
) -> None:
    from anyio import to_thread

    from forensics_core.readers.report.content import read_content
    from forensics_core.readers.report.page import page
    from forensics_core.readers.report.text import as_json, markdown
    from forensics_core.storage.objects import Traffic

    traffic = Traffic() if kind == "json" else None
    async with opened_bundle(location, owner, traffic) as bundle:
        story, whole = await read_content(bundle, key), whole_size(bundle)
    if traffic is not None:
        told = {**as_json(story), "fetched": traffic_as_json(traffic, whole)}
        pieces = iter([json.dumps(told, indent=2) + "\n"])
    else:
        pieces = page(story) if kind == "html" else iter([markdown(story)])
    if output == "json":
        print_text("".join(pieces).rstrip("\n"))
    else:
        await to_thread.run_sync(write_report, Path(output), pieces)
        click.echo(f"The report is in {clean_message(output)}", err=True)
    # Once the report is there: it says what is not genuine.
    if story.not_genuine:
        raise click.exceptions.Exit(3)


def write_report(path: Path, pieces: Iterator[str]) -> None:
    """Write the page, which is there as a whole or not at all, for its owner alone."""
    with opened_output(path) as file:
        file.writelines(pieces)
