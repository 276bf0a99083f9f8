"""`forensics export`: a bundle in the layouts that other tools open."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from forensics_core.cli.options import (
    containers_option,
    opened_bundle,
    output_option,
    owner_option,
    print_traffic,
    traffic_as_json,
    whole_size,
)
from forensics_core.cli.program import run
from forensics_core.cli.render import clean_message, counted, print_json
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
@containers_option()
@owner_option
@output_option
def export_command(
    location: str,
    oci: Path | None,
    tar: Path | None,
    uac: Path | None,
    seed: Path | None,
    containers: tuple[str, ...],
    expected_bucket_owner: str | None,
    output: str,
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
    if str(path) == "-" and output == "json":
        raise UsageError("The archive and JSON cannot both be printed", hint="Name a file for it")
    done = _Exported(path)
    work = partial(write, path=path, done=done)
    run(partial(_export, location, expected_bucket_owner, containers, work, done, output))


@dataclass(slots=True)
class _Exported:
    """What was written, and what was not."""

    path: Path
    missing: list[str] = field(default_factory=list)
    """What was not captured, each with the reason."""
    notes: list[str] = field(default_factory=list)
    failures: Sequence[ForensicsError] = ()
    """Why something was left out."""


async def _export(
    location: str,
    owner: str | None,
    containers: Sequence[str],
    write: Callable[[BundleReader, Sequence[str]], Awaitable[Sequence[ForensicsError]]],
    done: _Exported,
    output: str,
) -> None:
    from forensics_core.storage.objects import Traffic

    traffic = Traffic()
    async with opened_bundle(location, owner, traffic) as bundle:
        named = dict.fromkeys(containers)
        names = [bundle.check_container(name) for name in named] or bundle.containers
        try:
            done.failures = await write(bundle, names)
        except ForensicsError:
            _print_outcome(done)
            raise
        whole = whole_size(bundle)
    if output == "json":
        fetched = traffic_as_json(traffic, whole)
        print_json({"location": bundle.url, **_as_json(done), "fetched": fetched})
    else:
        _print_outcome(done)
        if str(done.path) != "-":
            click.echo(f"It lies in {clean_message(str(done.path))}", err=True)
        print_traffic(traffic, whole)
    _raise_for_failures(done.failures)


def _as_json(done: _Exported) -> dict[str, Any]:
    return {
        "written": str(done.path),
        "leftOut": [each.message for each in done.failures],
        "missing": done.missing,
        "notes": done.notes,
    }


def _print_outcome(done: _Exported) -> None:
    """Say on the standard error what there is to say: an archive may be on the other one."""
    for word, lines in (("Note", done.notes), ("Missing", done.missing)):
        for line in lines:
            click.echo(f"{word}: {clean_message(line)}", err=True)
    for failure in done.failures:
        click.echo(f"Left out: {clean_message(failure.message)}", err=True)


async def _as_oci(
    bundle: BundleReader, names: Sequence[str], path: Path, done: _Exported
) -> Sequence[ForensicsError]:
    from forensics_core.readers.export.oci import export_oci

    return await export_oci(bundle, _with_files(bundle, names, done), path)


async def _as_uac(
    bundle: BundleReader, names: Sequence[str], path: Path, done: _Exported
) -> Sequence[ForensicsError]:
    from forensics_core.readers.export.uac import export_uac

    return await export_uac(bundle, _with_files(bundle, names, done), path)


def _with_files(bundle: BundleReader, names: Sequence[str], done: _Exported) -> list[str]:
    """Return the containers whose file system was captured; the others are named."""
    from forensics_core.readers.export.archives import archives_of

    there = []
    for name in names:
        # Before anything is written: of several containers one without an archive is no reason to
        # stop.
        try:
            _note_truncated(archives_of(bundle, name), done)
            there.append(name)
        except ForensicsError as error:
            if len(names) == 1:
                raise
            done.missing.append(error.message)
    if not there:
        raise ForensicsError("No container's file system was captured", hint=WHY_MISSING)
    return there


async def _as_seed(
    bundle: BundleReader, names: Sequence[str], path: Path, done: _Exported
) -> Sequence[ForensicsError]:
    from forensics_core.readers.export.seed import export_seed

    exported = await export_seed(bundle, names, path)
    done.missing += exported.missing
    return exported.failures


async def _as_tar(
    bundle: BundleReader, names: Sequence[str], path: Path, done: _Exported
) -> Sequence[ForensicsError]:
    from forensics_core.bundle.layout import PROC_ARCHIVES
    from forensics_core.readers.export.archives import LAYERS, archives_of, joined, write_joined

    if len(names) != 1:
        raise UsageError(
            f"The bundle has {len(names)} containers", hint=f"Name one with -c: {', '.join(names)}"
        )
    archives = archives_of(bundle, names[0], (*LAYERS, PROC_ARCHIVES))
    _note_truncated(archives, done)
    if str(path) != "-":
        return await write_joined(bundle, archives, path)
    await _to_stdout(joined(bundle, archives))
    return []


def _raise_for_failures(failures: Sequence[ForensicsError]) -> None:
    """Raise `VerificationError` where anything was left out."""
    if failures:
        raise VerificationError(
            f"{counted(len(failures), 'object')} of the bundle could not be relied on and "
            "were left out; the rest was written",
            hint="Run 'forensics verify'",
        )


async def _to_stdout(blocks: AsyncIterator[bytes]) -> None:
    from anyio import to_thread

    async for block in blocks:
        await to_thread.run_sync(sys.stdout.buffer.write, block)
    await to_thread.run_sync(sys.stdout.buffer.flush)


def _note_truncated(archives: Sequence[Artifact], done: _Exported) -> None:
    from forensics_core.readers.export.archives import cut_short

    names = cut_short(archives)
    done.notes += [f"{name} was cut: it does not hold all there was" for name in names]
