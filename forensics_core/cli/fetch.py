"""`forensics fetch`: bring a bundle home, verified on the way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from forensics_core.cli.options import (
    output_option,
    owner_option,
    print_traffic,
    run_reader,
    select_option,
    traffic_as_json,
)
from forensics_core.cli.render import clean_message, print_json, print_text

if TYPE_CHECKING:
    from forensics_core.bundle.fetch import Fetched
    from forensics_core.cli.options import BundleTraffic


@click.command("fetch", short_help="Download a bundle, verified on the way.")
@click.argument("location")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--decompress",
    is_flag=True,
    help="Also write each archive as it was before compression, for tools that cannot read zstd.",
)
@select_option
@owner_option
@output_option
def fetch_command(
    location: str,
    folder: Path,
    decompress: bool,
    select: tuple[str, ...],
    expected_bucket_owner: str | None,
    output: str,
) -> None:
    """Download the bundle at LOCATION into FOLDER, which must be empty or not exist.

    What is not as the manifest says is named, keeps the ending '.unverified', and makes the exit
    code 3. Objects that the manifest does not name stay where they are. Of a folder with a part of
    a bundle, 'forensics verify' wants to be given the same --select.
    """
    bring = partial(_fetch, location, folder, decompress, select, expected_bucket_owner)
    _print_result(*run_reader(partial(bring, quiet=output == "json")), output)


async def _fetch(
    location: str,
    folder: Path,
    decompress: bool,
    select: Sequence[str],
    owner: str | None,
    *,
    quiet: bool,
) -> tuple[Fetched, BundleTraffic]:
    from forensics_core.bundle.fetch import fetch
    from forensics_core.cli.progress import progress
    from forensics_core.pipeline.meter import Meter
    from forensics_core.storage.objects import Traffic
    from forensics_core.storage.s3.client import S3Access

    meter, traffic = Meter(), Traffic()
    access = S3Access(expected_bucket_owner=owner, traffic=traffic)
    async with progress(meter, "Fetching", quiet=quiet):
        fetched = await fetch(
            location, folder, decompress=decompress, select=select, progress=meter, access=access
        )
    return fetched, (traffic, meter.bytes_total)


def _print_result(fetched: Fetched, traffic: BundleTraffic, output: str) -> None:
    if output == "json":
        print_json({**_as_json(fetched), "fetched": traffic_as_json(*traffic)})
    else:
        _print(fetched)
        print_traffic(*traffic)
    # Last, so that all of it is printed: the error only counts them.
    fetched.raise_for_problems()


def _print(fetched: Fetched) -> None:
    from forensics_core.cli.verify import print_problems, summary

    print_problems(fetched.problems, fetched.notes)
    if not fetched.problems:
        print_text(summary("Fetched", fetched.artifacts, fetched.size, fetched.manifest_sha256))
        print_text(f"It lies in {clean_message(str(fetched.folder))}")


def _as_json(fetched: Fetched) -> dict[str, Any]:
    from forensics_core.cli.verify import problems_as_json

    return {
        "location": fetched.location,
        "folder": str(fetched.folder),
        "verified": not fetched.problems,
        "manifestSha256": fetched.manifest_sha256,
        "artifacts": fetched.artifacts,
        "bytes": fetched.size,
        **problems_as_json(fetched.problems, fetched.notes),
    }
