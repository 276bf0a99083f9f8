"""A bundle's containers as an OCI image layout, one image a container.

A layer *is* an archive of the bundle: its digest is the artifact's `sha256`, and its diff id the
`originalSha256`, so that nothing is compressed anew. From a bundle in a folder it is a hard link
where the file system has them. Files that only processes still held have no path in the container,
and a layer cannot be moved into a folder without being written anew: they are an image of their
own, `web:deleted`, with a folder for each process.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from anyio import CancelScope, to_thread

from forensics_core.bundle.documents import unpacked_file
from forensics_core.bundle.layout import DELETED_ARCHIVES
from forensics_core.bundle.manifest import Artifact
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.artifacts import read_stored
from forensics_core.readers.export.archives import NOT_AS_PROMISED, archives_of, without_end
from forensics_core.readers.export.files import make_folder, new_folder, write_new, write_small

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""What Go, and so OCI, calls what the kernel calls otherwise."""
DELETED = "deleted"
"""The tag of the image of what only processes still held."""
_REFERENCE = "org.opencontainers.image.ref.name"


async def export_oci(
    bundle: BundleReader, containers: Sequence[str], folder: Path
) -> list[ForensicsError]:
    """Write the layout into `folder`, which must be empty or not exist.

    A layer that is not what the manifest says is left out of its image, an image without layers is
    left out of the layout; returns why. Raises `ObjectExists` where something is in the way, and
    the first reason where no image is left: nothing is kept then.
    """
    async with new_folder(folder):
        return await _layout(bundle, containers, folder)


async def _layout(
    bundle: BundleReader, containers: Sequence[str], folder: Path
) -> list[ForensicsError]:
    await to_thread.run_sync(_prepare, folder)
    rows, failures = [], list[ForensicsError]()
    for name, archives in _images(bundle, containers):
        layers = []
        for layer in archives:
            try:
                await _copy_layer(bundle, layer, _blob(folder, layer.sha256))
                layers.append(layer)
            except NOT_AS_PROMISED as error:
                failures.append(error)
        if layers:
            rows.append(await to_thread.run_sync(_image, bundle, name, layers, folder))
    if failures and not rows:
        raise failures[0]
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": rows}
    await to_thread.run_sync(write_small, folder / "index.json", _json(index))
    return failures


def _images(
    bundle: BundleReader, containers: Sequence[str]
) -> Iterable[tuple[str, list[Artifact]]]:
    """Yield each image's name, and what it is made of; the containers' own come first."""
    for container in containers:
        yield container, archives_of(bundle, container)
    for container in containers:
        yield (
            f"{container}:{DELETED}",
            archives_of(bundle, container, (DELETED_ARCHIVES,), fine=True),
        )


def _prepare(folder: Path) -> None:
    make_folder(folder / "blobs")
    make_folder(folder / "blobs/sha256")
    write_small(folder / "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))


async def _copy_layer(bundle: BundleReader, layer: Artifact, blob: Path) -> None:
    """Verify the archive, and link or copy it to where the layout wants it."""
    if await to_thread.run_sync(blob.exists):
        return  # two containers with the same content
    await _store(bundle, layer, blob)
    try:
        await _look_into(bundle, layer, blob)
    except BaseException:
        with CancelScope(shield=True):
            await to_thread.run_sync(blob.unlink)
        raise


async def _look_into(bundle: BundleReader, layer: Artifact, blob: Path) -> None:
    """Verify what the layer unpacks to, its diff id, and that no member leads out of it."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        with await to_thread.run_sync(blob.open, "rb") as file:
            unpacked = unpacked_file(file, bundle.objects[layer.name])
            while piece := await to_thread.run_sync(next, unpacked, b""):
                yield piece

    async with aclosing(pieces()) as plain, aclosing(without_end(plain, layer.name)) as passed:
        async for _ in passed:
            pass


async def _store(bundle: BundleReader, layer: Artifact, blob: Path) -> None:
    original = _file_of(bundle, layer)
    if original is None or not await to_thread.run_sync(_link, original, blob):
        await write_new(blob, read_stored(bundle, layer.name))
        return
    try:
        async with aclosing(read_stored(bundle, layer.name)) as blocks:
            async for _ in blocks:
                pass
    except BaseException:
        with CancelScope(shield=True):
            await to_thread.run_sync(blob.unlink)
        raise


def _file_of(bundle: BundleReader, layer: Artifact) -> Path | None:
    parts = urlsplit(bundle.url)
    return Path(unquote(parts.path)) / layer.name if parts.scheme == "file" else None


def _link(original: Path, blob: Path) -> bool:
    if original.is_symlink():
        return False
    with suppress(OSError):
        os.link(original, blob)
    return blob.exists()


def _image(
    bundle: BundleReader, container: str, layers: Iterable[Artifact], folder: Path
) -> dict[str, Any]:
    """Write configuration and manifest of one image; return its row of the index."""
    layers = list(layers)
    config = _put(folder, _CONFIG, _configuration(bundle, container, layers))
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": config,
        "layers": [
            {"mediaType": _media_type(one), "digest": f"sha256:{one.sha256}", "size": one.size}
            for one in layers
        ],
    }
    return {**_put(folder, _MANIFEST, manifest), "annotations": {_REFERENCE: container}}


def _media_type(layer: Artifact) -> str:
    return f"{_LAYER}+zstd" if layer.compression.compresses else _LAYER


def _configuration(
    bundle: BundleReader, container: str, layers: Sequence[Artifact]
) -> dict[str, Any]:
    capture = bundle.statement.predicate
    machine = capture.node.machine
    return {
        "created": capture.started_at.isoformat(),
        "architecture": _MACHINES.get(machine, machine or "amd64"),
        "os": "linux",
        "config": {"Labels": {"io.orkaproj.forensics.manifest-sha256": bundle.manifest_sha256}},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{one.original_sha256}" for one in layers],
        },
        "history": [
            {
                "created": one.started_at.isoformat(),
                "created_by": f"kube-forensics {capture.tool.version}: {one.name} of {container}",
            }
            for one in layers
        ],
    }


def _put(folder: Path, media_type: str, document: dict[str, Any]) -> dict[str, Any]:
    data = _json(document)
    digest = hashlib.sha256(data).hexdigest()
    if not _blob(folder, digest).exists():  # two images with the same layers have one configuration
        write_small(_blob(folder, digest), data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs/sha256" / digest


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()
