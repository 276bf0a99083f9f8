"""A bundle under the names that the first pod-forensics tool of this kind gave its files.

For scripts that were written for it: `POD-ID-inspect.json`, `POD-ID-diff.txt`, `POD-ID-export.tar`
of each container, ID being the first twelve digits of its id, and `POD.yaml`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from anyio import to_thread

from forensics_core._internal.text import printable
from forensics_core.bundle.layout import container_file, fit
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, ObjectExists
from forensics_core.readers.artifacts import read_artifact
from forensics_core.readers.changes import change_batches
from forensics_core.readers.export.archives import archives_of, joined
from forensics_core.readers.export.files import write_new

POD = "context/pod.yaml"


async def export_seed(bundle: BundleReader, containers: Sequence[str], folder: Path) -> list[str]:
    """Write the files into `folder`; return what is missing there, and why.

    Raises `ObjectExists` where a file is there already, and `VerificationError`.
    """
    await to_thread.run_sync(_make, folder)
    pod = bundle.statement.predicate.pod
    missing = []
    for container in containers:
        name = f"{fit(pod.name if pod else container)}-{_short_id(bundle, container)}"
        sources = {
            f"{name}-inspect.json": _artifact(bundle, container_file(container, "inspect.json")),
            f"{name}-diff.txt": _diff(bundle, container),
            f"{name}-export.tar": _archive(bundle, container),
        }
        missing += [await _write(folder / file, blocks) for file, blocks in sources.items()]
    if pod:
        missing.append(await _write(folder / f"{fit(pod.name)}.yaml", _artifact(bundle, POD)))
    return [line for line in missing if line]


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


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


async def _archive(bundle: BundleReader, container: str) -> AsyncGenerator[bytes, None]:
    async with aclosing(joined(bundle, archives_of(bundle, container))) as blocks:
        async for block in blocks:
            yield block


async def _write(path: Path, blocks: AsyncGenerator[bytes, None]) -> str:
    """Write a new file; nothing of it is kept if its source fails. Return why it is missing."""
    async with aclosing(blocks):
        try:
            await write_new(path, blocks)
        except ObjectExists:
            raise
        except ForensicsError as error:
            if error.exit_code != 1:
                raise
            return f"{path.name}: {error.message}"
    return ""
