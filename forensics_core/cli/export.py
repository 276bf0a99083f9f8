"""`forensics export`: a bundle in the layouts that other tools open."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from forensics_core.cli.options import opened_bundle, owner_option
from forensics_core.cli.program import run
from forensics_core.cli.render import clean_message, counted
from forensics_core.errors import ForensicsError, UsageError, VerificationError

if TYPE_CHECKING:
    from forensics_core.bundle.manifest import Artifact
    from forensics_core.bundle.reader import BundleReader

WHY_MISSING = "'forensics ls' shows the reason under 'Not captured'"
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("export", short_help="Write a bundle as an OCI image, or as a plain tar.")
@click.argument("location")
@click.option(
    "--oci", type=_FOLDER, metavar="DIR", help="An OCI image layout, an image a container."
)
@click.option(
    "--tar",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="One plain tar of one container: its file system, mounts on it, /proc; - is stdout.",
)
@click.option("--uac", type=_FOLDER, metavar="DIR", help="A collection as UAC makes one.")
@click.option(
    "--seed", type=_FOLDER, metavar="DIR", help="POD-ID-inspect.json, -diff.txt and -export.tar."
)
@click.option("--container", "-c", "containers", multiple=True, help="Only this one; repeatable.")
@owner_option
def export_command(
    location: str,
    oci: Path | None,
    tar: Path | None,
    uac: Path | None,
    seed: Path | None,
    containers: tuple[str, ...],
    expected_bucket_owner: str | None,
) -> None:
    """Write what is in the bundle at LOCATION in a layout that other tools open.

    Everything is verified on the way: what is not as the manifest says is left out and named, the
    rest is written, and the exit code is 3. Nothing in the bundle is changed. With --oci the layers
    are the bundle's own archives: from a folder they are hard links to them, so do not let a tool
    write to them.
    """
    layouts = [(_as_oci, oci), (_as_tar, tar), (_as_uac, uac), (_as_seed, seed)]
    chosen = [(write, path) for write, path in layouts if path is not None]
    if len(chosen) != 1:
        hint = "One of --oci DIR, --tar FILE, --uac DIR and --seed DIR"
        raise UsageError("Name one layout", hint=hint)
    ((write, path),) = chosen
    run(partial(_export, location, expected_bucket_owner, containers, partial(write, path=path)))


async def _export(
    location: str,
    owner: str | None,
    containers: Sequence[str],
    write: Callable[[BundleReader, Sequence[str]], Awaitable[Sequence[ForensicsError]]],
) -> None:
    async with opened_bundle(location, owner) as bundle:
        named = dict.fromkeys(containers)
        names = [bundle.check_container(name) for name in named] or bundle.containers
        failures = await write(bundle, names)
    _raise_for_failures(failures)


async def _as_oci(
    bundle: BundleReader, names: Sequence[str], path: Path
) -> Sequence[ForensicsError]:
    from forensics_core.readers.export.oci import export_oci

    return await export_oci(bundle, _with_files(bundle, names), path)


async def _as_uac(
    bundle: BundleReader, names: Sequence[str], path: Path
) -> Sequence[ForensicsError]:
    from forensics_core.readers.export.uac import export_uac

    return await export_uac(bundle, _with_files(bundle, names), path)


def _with_files(bundle: BundleReader, names: Sequence[str]) -> list[str]:
    """Return the containers whose file system was captured; the others are named."""
    from forensics_core.readers.export.archives import archives_of

    there = []
    for name in names:
        # Before anything is written: of several containers one without an archive is no reason to
        # stop.
        try:
            _note_truncated(archives_of(bundle, name))
            there.append(name)
        except ForensicsError as error:
            if len(names) == 1:
                raise
            click.echo(f"Missing: {clean_message(error.message)}", err=True)
    if not there:
        raise ForensicsError("No container's file system was captured", hint=WHY_MISSING)
    return there


async def _as_seed(
    bundle: BundleReader, names: Sequence[str], path: Path
) -> Sequence[ForensicsError]:
    from forensics_core.readers.export.seed import export_seed

    done = await export_seed(bundle, names, path)
    for line in done.missing:
        click.echo(f"Missing: {clean_message(line)}", err=True)
    return done.failures


async def _as_tar(
    bundle: BundleReader, names: Sequence[str], path: Path
) -> Sequence[ForensicsError]:
    from forensics_core.bundle.layout import PROC_ARCHIVES
    from forensics_core.readers.export.archives import LAYERS, archives_of, joined, write_joined

    if len(names) != 1:
        raise UsageError(
            f"The bundle has {len(names)} containers", hint=f"Name one with -c: {', '.join(names)}"
        )
    archives = archives_of(bundle, names[0], (*LAYERS, PROC_ARCHIVES))
    _note_truncated(archives)
    if str(path) != "-":
        return await write_joined(bundle, archives, path)
    await _to_stdout(joined(bundle, archives))
    return []


def _raise_for_failures(failures: Sequence[ForensicsError]) -> None:
    """Name what was left out. Raises `VerificationError` where anything was."""
    for failure in failures:
        click.echo(f"Left out: {clean_message(failure.message)}", err=True)
    if failures:
        raise VerificationError(
            f"{counted(len(failures), 'object')} of the bundle could not be relied on and "
            "left out; the rest was written",
            hint="Run 'forensics verify'",
        )


async def _to_stdout(blocks: AsyncIterator[bytes]) -> None:
    from anyio import to_thread

    async for block in blocks:
        await to_thread.run_sync(sys.stdout.buffer.write, block)
    await to_thread.run_sync(sys.stdout.buffer.flush)


def _note_truncated(archives: Sequence[Artifact]) -> None:
    from forensics_core.readers.export.archives import cut_short

    for name in cut_short(archives):
        click.echo(f"Note: {clean_message(name)} was cut: it does not hold all there was", err=True)
