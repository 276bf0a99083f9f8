"""A bundle under the names that the first pod-forensics tool of this kind gave its files.

For scripts that were written for it: `POD-ID-inspect.json`, `POD-ID-diff.txt`, `POD-ID-export.tar`
of each container, ID being the first twelve digits of its id, and `POD.yaml`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from forensics_core._internal.text import printable
from forensics_core.bundle.layout import container_file, fit
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, ObjectExists
from forensics_core.readers.artifacts import read_artifact
from forensics_core.readers.changes import change_batches
from forensics_core.readers.export.archives import NOT_AS_PROMISED, archives_of, write_joined
from forensics_core.readers.export.files import new_folder, write_new

POD = "context/pod.yaml"


@dataclass(slots=True)
class Exported:
    """What could not be written."""

    missing: list[str] = field(default_factory=list)
    """Files that were not captured, each with the reason."""
    failures: list[ForensicsError] = field(default_factory=list)
    """Why others, or a part of them, are not what the manifest says."""


async def export_seed(bundle: BundleReader, containers: Sequence[str], folder: Path) -> Exported:
    """Write the files into `folder`; return what is missing there, and why.

    Nothing is kept of a file that is not what the manifest says, and the others are written.
    Raises `ObjectExists` where the folder is not empty; it is left as it was if anything fails.
    """
    async with new_folder(folder):
        return await _files(bundle, containers, folder)


async def _files(bundle: BundleReader, containers: Sequence[str], folder: Path) -> Exported:
    pod = bundle.statement.predicate.order.pod
    done = Exported()
    for container in containers:
        name = f"{fit(pod.name if pod else container)}-{_short_id(bundle, container)}"
        inspect = _artifact(bundle, container_file(container, "inspect.json"))
        await _write(folder / f"{name}-inspect.json", inspect, done)
        await _write(folder / f"{name}-diff.txt", _diff(bundle, container), done)
        await _archive(bundle, container, folder / f"{name}-export.tar", done)
    if pod:
        await _write(folder / f"{fit(pod.name)}.yaml", _artifact(bundle, POD), done)
    return done


def _short_id(bundle: BundleReader, container: str) -> str:
    rows = bundle.statement.predicate.containers
    whole = next((row.container_id for row in rows if row.name == container), "")
    return fit(whole.rpartition("/")[2][:12])


async def _artifact(bundle: BundleReader, name: str) -> AsyncGenerator[bytes, None]:
    if name not in bundle.objects:
        raise ForensicsError(f"{name} was not captured")
    async with aclosing(read_artifact(bundle, name)) as blocks:
        async for block in blocks:
            yield block


async def _diff(bundle: BundleReader, container: str) -> AsyncGenerator[bytes, None]:
    """Yield the changes as `docker diff` prints them."""
    async with aclosing(change_batches(bundle, container)) as batches:
        async for batch in batches:
            lines = [f"{printable(each.kind)} {printable(each.path, 8192)}\n" for each in batch]
            yield "".join(lines).encode()


async def _archive(bundle: BundleReader, container: str, path: Path, done: Exported) -> None:
    try:
        done.failures += await write_joined(bundle, archives_of(bundle, container), path)
    except ForensicsError as error:
        _note(error, path, done)


async def _write(path: Path, blocks: AsyncGenerator[bytes, None], done: Exported) -> None:
    """Write a new file; nothing of it is kept if its source fails."""
    async with aclosing(blocks):
        try:
            await write_new(path, blocks)
        except ForensicsError as error:
            _note(error, path, done)


def _note(error: ForensicsError, path: Path, done: Exported) -> None:
    if isinstance(error, NOT_AS_PROMISED):
        done.failures.append(error)
    elif isinstance(error, ObjectExists) or error.exit_code != 1:
        raise error
    else:
        done.missing.append(f"{path.name}: {error.message}")
