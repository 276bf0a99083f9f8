"""`forensics report`: a bundle's story on one page."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from forensics_core.cli.options import opened_bundle, owner_option, traffic_as_json, whole_size
from forensics_core.cli.program import run
from forensics_core.cli.render import clean_message, print_text
from forensics_core.errors import UsageError


@click.command("report", short_help="Write what a bundle tells on one page.")
@click.argument("location")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    help="Where to: report.html, report.md, or 'json' for the standard output.",
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
    if output != "json" and Path(output).suffix not in {".html", ".md"}:
        raise UsageError(
            f"'{output}' is not a kind of report", hint="Name report.html, report.md, or json"
        )
    public_key = key.read_bytes() if key else None
    run(partial(_report, location, expected_bucket_owner, output, public_key))


async def _report(location: str, owner: str | None, output: str, key: bytes | None) -> None:
    from anyio import to_thread

    from forensics_core.readers.report.page import page
    from forensics_core.readers.report.story import tell
    from forensics_core.readers.report.text import as_json, markdown
    from forensics_core.storage.traffic import Traffic

    traffic = Traffic() if output == "json" else None
    async with opened_bundle(location, owner, traffic) as bundle:
        story, whole = await tell(bundle, key), whole_size(bundle)
    if traffic is not None:
        fetched = traffic_as_json(traffic, whole)
        print_text(json.dumps({**as_json(story), "fetched": fetched}, indent=2))
    else:
        pieces = page(story) if output.endswith(".html") else iter([markdown(story)])
        await to_thread.run_sync(write_report, Path(output), pieces)
        click.echo(f"The report is in {clean_message(output)}", err=True)
    # Once the report is there: it says what is not genuine.
    if story.not_genuine:
        raise click.exceptions.Exit(3)


def write_report(path: Path, pieces: Iterator[str]) -> None:
    """Write the page, which is there as a whole or not at all, for its owner alone."""
    # Like /dev/stdout, or a FIFO: it can be written to, and not be replaced.
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(pieces)
        return
    with (
        _replacement(path) as new,
        new.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.writelines(pieces)


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """Make a file that takes the place of `path` at the end of the block, unless that fails."""
    try:
        # Beside it, as a file is renamed within a file system only; its name is cut, as one has 255
        # bytes at most.
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.")
    except OSError as error:
        # Of the name that was typed, not of one that nobody knows.
        raise OSError(error.errno, error.strerror, str(path)) from error
    os.close(number)
    new = Path(name)
    try:
        yield new
        new.replace(path)
    except BaseException:
        new.unlink()
        raise
