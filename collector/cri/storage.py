"""Where containerd and CRI-O keep a container's files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from collector.cri._proto import containerd_pb2 as containerd
from collector.cri.inspection import destinations, details, specification
from collector.files.mounts import mounted_beneath, mounted_layers
from collector.files.overlay import Layers, layers_beside, parse_options
from collector.files.view import Storage
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo


def storage(container: ContainerInfo, mounts: Iterable[containerd.Mount], host: Host) -> Storage:
    """Return where the files are: by containerd's `mounts`, by CRI-O's folders, by the kernel."""
    info = details(container)
    spec = specification(info)
    root = spec.get("root")
    path = str(root.get("path", "")) if isinstance(root, dict) else ""
    merged = (
        Path(path) if path.startswith("/") else mounted_beneath(f"/{container.key}/rootfs", host)
    )
    layers, plain = _by_mounts(mounts)
    if layers is None and path.startswith("/"):
        layers = _beside(os.fsencode(path), host)
    if layers is None and merged:
        layers = mounted_layers(merged, host)
    return Storage(merged, layers, destinations(spec), str(info.get("snapshotter") or ""), plain)


def _by_mounts(mounts: Iterable[containerd.Mount]) -> tuple[Layers | None, Path | None]:
    """Return the layers of an overlay, or the folder of a snapshot that is a whole copy."""
    for mount in mounts:
        if mount.type == "overlay":
            return parse_options(os.fsencode(option) for option in mount.options), None
        if mount.type == "bind":
            return None, Path(mount.source)
    return None, None


def _beside(merged: bytes, host: Host) -> Layers | None:
    with suppress(OSError):
        return layers_beside(merged, host.read(merged.rpartition(b"/")[0] + b"/lower"))
    return None
