"""`forensics compare`: what a suspect has that a healthy replica, or its image, does not."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from forensics_core.cli.options import (
    opened_bundle,
    output_option,
    owner_option,
    print_traffic,
    traffic_as_json,
    whole_size,
)
from forensics_core.cli.program import run
from forensics_core.cli.render import clean_message, counted, print_json, print_text, table
from forensics_core.errors import UsageError

if TYPE_CHECKING:
    from forensics_core.bundle.reader import BundleReader
    from forensics_core.readers.compare.difference import Differences
    from forensics_core.readers.notes import Notes

_MAX_SHOWN = 500
"""Differences of a container that are shown to people; JSON has more."""


@click.command("compare", short_help="Show what only one of two bundles has.")
@click.argument("suspect")
@click.argument("healthy", required=False)
@click.option(
    "--baseline",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="IMAGE.tar",
    help="Compare with the image alone: 'docker save', or an OCI layout in a tar.",
)
@owner_option
@output_option
def compare_command(
    suspect: str,
    healthy: str | None,
    baseline: Path | None,
    expected_bucket_owner: str | None,
    output: str,
) -> None:
    """Compare the bundle SUSPECT with the bundle HEALTHY: a replica, or the same pod before.

    Containers of one name are compared; CASE:web REPLICA:api names others. Shown is what only the
    suspect has, what differs and what is missing: files, packages, processes, sockets, environment
    variables and mounts, what the report's rules see something in first. Times, process ids, the
    pod's own addresses and the files that each container gets anew are no differences.

    The exit code is 0 whatever differs, and 3 where something is not what its manifest says.
    """
    if (healthy is None) == (baseline is None):
        raise UsageError(
            "Name what to compare with", hint="Either a second bundle, or --baseline IMAGE.tar"
        )
    sides = _split(suspect), _split(healthy or "")
    run(partial(_compare, *sides, baseline, expected_bucket_owner, output))


async def _compare(
    suspect: tuple[str, str],
    healthy: tuple[str, str],
    baseline: Path | None,
    owner: str | None,
    output: str,
) -> None:
    from forensics_core.readers.notes import Notes
    from forensics_core.storage.objects import Traffic

    notes, traffic, (location, name) = Notes(), Traffic(), suspect
    async with opened_bundle(location, owner, traffic) as bundle:
        whole = whole_size(bundle)
        if baseline:
            against = str(baseline)
            found = await _with_image(bundle, name, baseline, notes)
        else:
            other, other_name = healthy
            async with opened_bundle(other, owner, traffic) as second:
                against, whole = second.url, whole + whole_size(second)
                found = await _with_bundle(bundle, name, second, other_name, notes)
    if output == "json":
        print_json(
            {
                "suspect": bundle.url,
                "healthy": against,
                "containers": [each.as_json() for each in found],
                "missing": notes.missing,
                "genuine": not notes.not_genuine,
                "fetched": traffic_as_json(traffic, whole),
            }
        )
    else:
        _show(found, notes)
        print_traffic(traffic, whole)
    if notes.not_genuine:
        raise click.exceptions.Exit(3)


def _split(location: str) -> tuple[str, str]:
    """Return a location, and the container that is named behind it; empty if none is."""
    before, _, name = location.rpartition(":")
    if not before or not name or "/" in name or Path(location).exists():
        return location, ""
    return before, name


async def _with_image(
    bundle: BundleReader, name: str, path: Path, notes: Notes
) -> list[Differences]:
    from forensics_core.readers.compare.compare import ComparedContainer, compare
    from forensics_core.readers.compare.image import open_image

    names = [bundle.check_container(name)] if name else bundle.containers
    if len(names) != 1:
        raise UsageError(
            f"The bundle has {len(names)} containers", hint="Name one: LOCATION:CONTAINER"
        )
    container = ComparedContainer(bundle, names[0])
    return [await compare(container, await open_image(path, container.image_id), notes)]


async def _with_bundle(
    bundle: BundleReader, name: str, second: BundleReader, other_name: str, notes: Notes
) -> list[Differences]:
    from forensics_core.readers.compare.compare import compare, pairs

    both = pairs(bundle, second, name, other_name)
    return [await compare(one, other, notes) for one, other in both]


def _show(several: list[Differences], notes: Notes) -> None:
    for found in several:
        print_text(clean_message(f"{found.suspect} compared with {found.healthy}:"))
        ranked = found.ranked()
        rows = [
            [each.severity, each.kind, each.area, each.subject, each.rule or "", each.detail]
            for each in ranked[:_MAX_SHOWN]
        ]
        if rows:
            print_text(table(["SEVERITY", "HOW", "WHAT", "SUBJECT", "RULE", "DETAIL"], rows))
        total = found.totals.total()
        rest = total - len(rows)
        # "None" would be taken for an answer where not all was there to be compared.
        partly = (
            " in what could be compared" if not total and (found.notes or notes.missing) else ""
        )
        more = f", {rest:,} not shown: -o json" if rest else ""
        print_text(f"{counted(total, 'difference')}{partly}{more}")
        for note in found.notes:
            click.echo(f"Note: {clean_message(note)}", err=True)
    for line in notes.missing:
        click.echo(f"Note: {clean_message(line)}", err=True)
