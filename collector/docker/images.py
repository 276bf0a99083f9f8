"""What the Docker Engine keeps of an image's layers, beneath its data folder.

`image/overlay2/layerdb/sha256/CHAIN` is of one layer on top of those below: `cache-id` names its
directory, and `tar-split.json.gz` is its archive without the files' content. With containerd's
image store there is a content store instead, beside the snapshots.

Source: https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Any

from anyio import to_thread

from collector.files import view
from collector.files.overlay import OverlayDirectories
from collector.layers.content import ContentStore, ImageContent, parsed
from collector.layers.promised import ImageLayers, MissingArchive, PromisedLayer
from collector.layers.tarsplit import TarSplit
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo, Unavailable

_PLACEHOLDERS = frozenset(
    os.fsencode(path)
    for path in (
        *("/.dockerenv", "/dev", "/dev/console", "/dev/pts", "/dev/shm"),  # noqa: S108
        *("/etc", "/etc/hosts", "/etc/hostname", "/etc/mtab", "/etc/resolv.conf"),
        *("/proc", "/sys"),
    )
)
"""What the engine makes in the directory between image and container."""
_SNAPSHOTS = re.compile(rb"(/.*)/io\.containerd\.snapshotter\.v1\.[^/]+/snapshots/\d+/fs")
_OVERLAY2 = re.compile(rb"(/.*)/overlay2/[^/]+/diff")
_SHIFTED = re.compile(r"/(\d{1,10})\.(\d{1,10})$")
_CACHE_ID = re.compile(r"[0-9a-z-]{1,100}")


async def promised(
    container: ContainerInfo, image: bytes, place: view.RuntimeStorage, host: Host
) -> ImageLayers:
    """Return the layers by what the engine says of the container and of its `image`.

    Raises `Unavailable` where it keeps nothing to compare them with.
    """
    view.require_root()
    return await to_thread.run_sync(_promised, container, image, view.overlay_of(place), host)


def _promised(
    container: ContainerInfo, image: bytes, layers: OverlayDirectories, host: Host
) -> ImageLayers:
    said, told = json.loads(container.document), json.loads(image)
    key = str(told.get("Id") or "")
    ids = tuple(str(each) for each in (told.get("RootFS") or {}).get("Layers") or ())
    snapshot = _SNAPSHOTS.fullmatch(layers.lower_layers[-1])
    if snapshot:
        store = ContentStore(host, f"{os.fsdecode(snapshot[1])}/io.containerd.content.v1.content")
        return _of_containerd(store, key, ids, layers)
    # Not by the folder of the container's own files, which one that never ran does not have yet.
    lowest = _OVERLAY2.fullmatch(layers.lower_layers[-1])
    if not lowest or (said.get("GraphDriver") or {}).get("Name") != "overlay2":
        raise Unavailable("The storage driver keeps nothing of layers", reason="NotSupported")
    return _of_overlay2(os.fsdecode(lowest[1]), key, layers, host)


def _of_containerd(
    store: ContentStore, key: str, ids: tuple[str, ...], layers: OverlayDirectories
) -> ImageLayers:
    def wanted(image: ImageContent) -> bool:
        return image.diff_ids == ids

    image = store.find(key, wanted)
    folders = layers.lower_layers[::-1]
    # The engine may put a snapshot of its own between image and container.
    between = folders[len(ids) :]
    unpacked = store.layers(image, folders[: len(ids)])
    own = tuple(_between(folder) for folder in between)
    return ImageLayers(image.config, unpacked + own, store.host, layers.marks, image.manifest)


def _of_overlay2(root: str, key: str, layers: OverlayDirectories, host: Host) -> ImageLayers:
    ids = _diff_ids(f"{root}/image/overlay2/imagedb/content", key, host)
    folders = layers.lower_layers[::-1]
    between, image = folders[len(ids) :], folders[: len(ids)]
    if len(image) < len(ids) or len(between) > 1:
        raise Unavailable(
            f"The image has {len(ids)} layers, the container's overlay {len(folders)}",
            reason="NotTheLayers",
        )
    found, chain = list[PromisedLayer](), ""
    for diff_id, folder in zip(ids, image, strict=True):
        chain = f"sha256:{_sha256(f'{chain} {diff_id}')}" if chain else diff_id
        found.append(_layer(root, chain, diff_id, folder, host))
    found += [_between(folder) for folder in between]
    shifted = _SHIFTED.search(root)
    shift = (int(shifted[1]), int(shifted[2])) if shifted else (0, 0)
    return ImageLayers(key, tuple(found), host, layers.marks, shift=shift)


def _diff_ids(folder: str, key: str, host: Host) -> tuple[str, ...]:
    """Return what the image's configuration promises, which has the image's ID as its digest."""
    try:
        data = host.read(f"{folder}/{key.replace(':', '/')}")
    except OSError as error:
        raise Unavailable(f"The image's configuration: {error}", reason="NotFound") from error
    rootfs: Any = parsed(data, key).get("rootfs")
    ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return tuple(str(each) for each in ids or ())


def _layer(root: str, chain: str, diff_id: str, folder: bytes, host: Host) -> PromisedLayer:
    kept = f"{root}/image/overlay2/layerdb/{chain.replace(':', '/')}"
    source = _source(root, kept, folder, host)
    return PromisedLayer(diff_id, folder, source, _size(kept, host), bottom=chain == diff_id)


def _source(root: str, kept: str, folder: bytes, host: Host) -> TarSplit | MissingArchive:
    try:
        cache = host.read(f"{kept}/cache-id").decode()
        os.close(host.open(f"{kept}/tar-split.json.gz"))
    except (OSError, UnicodeDecodeError):
        return MissingArchive("NotFound", "The engine has nothing that tells what its archive was")
    if not _CACHE_ID.fullmatch(cache) or folder != os.fsencode(f"{root}/overlay2/{cache}/diff"):
        return MissingArchive(
            "NotTheLayers", f"The engine keeps this layer elsewhere: {cache[:100]}"
        )
    return TarSplit(host, f"{kept}/tar-split.json.gz")


def _size(kept: str, host: Host) -> int:
    try:
        return int(host.read(f"{kept}/size"))
    except (OSError, ValueError):
        return 0


class _Nothing:
    """The archive of what is between image and container: it has none."""

    word = "none"
    independent = True
    unlooked = 0

    def read(self, folder: int) -> Any:
        """Yield nothing."""
        return iter(())

    def flaw(self) -> str:
        """Return nothing."""
        return ""

    def suspects(self, folder: int) -> Any:
        """Yield nothing."""
        return iter(())


def _between(folder: bytes) -> PromisedLayer:
    return PromisedLayer("", folder, _Nothing(), placeholders=_PLACEHOLDERS)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
