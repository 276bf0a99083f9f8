"""`forensics ls`: what is in a bundle, and what is not."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from forensics_core.cli.files import list_files, parse_container_path
from forensics_core.cli.options import (
    opened_bundle,
    output_option,
    owner_option,
    run_reader,
    traffic_as_json,
    upper_option,
    whole_size,
)
from forensics_core.cli.render import (
    clean,
    counted,
    print_json,
    print_json_list,
    print_text,
    size,
    table,
)
from forensics_core.errors import UsageError

if TYPE_CHECKING:
    from forensics_core.bundle.manifest import Artifact, NotCaptured
    from forensics_core.bundle.reader import BundleReader
    from forensics_core.readers.changes import Change


@click.command("ls", short_help="List what is in a bundle, and what is not.")
@click.argument("location")
@click.argument("container", required=False, metavar="[CONTAINER[:PATH]]")
@click.option("--changes", is_flag=True, help="List what differs from the container's image.")
@click.option("-R", "--recursive", is_flag=True, help="With a PATH: list all beneath it.")
@upper_option
@owner_option
@output_option
def ls_command(
    location: str,
    container: str | None,
    changes: bool,
    recursive: bool,
    upper: bool,
    expected_bucket_owner: str | None,
    output: str,
) -> None:
    """List the artifacts of the bundle at LOCATION, or those of one container.

    With CONTAINER:PATH, as in web:/etc: the files there, from the index of the container's file
    system; of the archive itself nothing is read.

    With --changes: what was added (A), changed (C) and deleted (D) in the container since it was
    made from its image. A bundle with one container needs no CONTAINER then.

    What cannot be read is passed over, and makes the exit code 3 after all the rest is printed.
    """
    if container and ":" in container:
        if changes:
            raise UsageError("--changes goes with no path", hint="Leave out what follows the ':'")
        path, owner = parse_container_path(container), expected_bucket_owner
        run_reader(partial(list_files, location, owner, path, recursive, upper, output))
        return
    if recursive or upper:
        option = "-R" if recursive else "--upper"
        raise UsageError(f"{option} goes with a path", hint="Name one as CONTAINER:PATH")
    listing = _changes if changes else _artifacts
    run_reader(partial(listing, location, expected_bucket_owner, container, output))


async def _artifacts(location: str, owner: str | None, container: str | None, output: str) -> None:
    from forensics_core.storage.objects import Traffic

    traffic = Traffic() if output == "json" else None
    async with opened_bundle(location, owner, traffic) as bundle:
        capture = bundle.statement.predicate
        if container is not None:
            bundle.check_container(container)
        rows = [each for each in capture.artifacts if container in {None, each.container}]
        gaps = [each for each in capture.not_captured if container in {None, each.container}]
        if traffic is not None:
            fetched = traffic_as_json(traffic, whole_size(bundle))
            print_json({**_as_json(bundle, rows, gaps), "fetched": fetched})
        else:
            _print(bundle, rows, gaps)


async def _changes(location: str, owner: str | None, container: str | None, output: str) -> None:
    from forensics_core.readers.changes import change_batches

    async with opened_bundle(location, owner) as bundle:
        name = container or _only_container(bundle)
        async with aclosing(change_batches(bundle, name)) as batches:
            if output == "json":
                await print_json_list({"container": name}, "changes", _json_batches(batches))
                return
            async for batch in batches:
                for change in batch:
                    print_text(f"{clean(change.kind)} {clean(change.path)}")


async def _json_batches(
    batches: AsyncGenerator[list[Change], None],
) -> AsyncGenerator[list[Any], None]:
    async for batch in batches:
        yield [{"kind": change.kind, "path": change.path} for change in batch]


def _print(bundle: BundleReader, rows: list[Artifact], gaps: list[NotCaptured]) -> None:
    capture = bundle.statement.predicate
    print_text(f"Bundle    {clean(bundle.url)}")
    print_text(f"Manifest  sha256:{bundle.manifest_sha256}")
    began, ended = capture.started_at, capture.finished_at
    print_text(f"Captured  {began:%Y-%m-%d %H:%M:%S %Z} to {ended:%H:%M:%S %Z}")
    stored = size(sum(row.size for row in rows))
    print_text(f"Total     {counted(len(rows), 'artifact')}, {stored} stored\n")
    cells = [
        [size(row.original_size), size(row.size), _flags(row), row.name]
        # The manifest has them as they were stored, the most volatile first.
        for row in sorted(rows, key=lambda row: row.name)
    ]
    print_text(table(["SIZE", "STORED", "FLAGS", "NAME"], cells, right="SIZE STORED"))
    if gaps:
        missing = [[gap.container or "-", gap.what, gap.reason, gap.message] for gap in gaps]
        print_text("\nNot captured:\n" + table(["CONTAINER", "WHAT", "REASON", "MESSAGE"], missing))


def _flags(artifact: Artifact) -> str:
    return ",".join(artifact.flags) or "-"


def _as_json(bundle: BundleReader, rows: list[Artifact], gaps: list[NotCaptured]) -> dict[str, Any]:
    capture = bundle.statement.predicate
    return {
        "location": bundle.url,
        "manifestSha256": bundle.manifest_sha256,
        "startedAt": capture.started_at.isoformat(),
        "finishedAt": capture.finished_at.isoformat(),
        "partial": capture.partial,
        "containers": [_dumped(each) for each in capture.containers],
        "artifacts": [_dumped(row) for row in rows],
        "notCaptured": [_dumped(gap) for gap in gaps],
    }


def _dumped(record: Any) -> Any:
    return record.model_dump(mode="json", by_alias=True)


def _only_container(bundle: BundleReader) -> str:
    known = bundle.containers
    if len(known) != 1:
        raise UsageError(
            f"The bundle has {counted(len(known), 'container')}",
            hint=f"Name one of: {', '.join(known)}",
        )
    return known[0]
