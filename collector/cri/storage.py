"""Where containerd and CRI-O keep a container's files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from collector.cri._proto import containerd_pb2 as containerd
from collector.cri.inspection import destinations, details, specification
from collector.host import Host
from collector.overlay import Layers, layers_beside, mount_points, parse_mountinfo, parse_options
from collector.procfs import Process
from collector.runtime import ContainerInfo
from collector.view import Storage


def storage(container: ContainerInfo, mounts: Iterable[containerd.Mount], host: Host) -> Storage:
    """Return where the files are: by containerd's `mounts`, by CRI-O's folders, by the kernel."""
    info = details(container)
    spec = specification(info)
    root = spec.get("root")
    path = str(root.get("path", "")) if isinstance(root, dict) else ""
    merged = Path(path) if path.startswith("/") else _bundle(container.key, host)
    layers, plain = _by_mounts(mounts)
    if layers is None and path.startswith("/"):
        layers = _beside(os.fsencode(path), host)
    if layers is None and container.pid:
        layers = _by_kernel(container.pid)
    return Storage(merged, layers, destinations(spec), str(info.get("snapshotter") or ""), plain)


def _by_mounts(mounts: Iterable[containerd.Mount]) -> tuple[Layers | None, Path | None]:
    """Return the layers of an overlay, or the folder of a snapshot that is a whole copy."""
    for mount in mounts:
        if mount.type == "overlay":
            return parse_options(os.fsencode(option) for option in mount.options), None
        if mount.type == "bind":
            return None, Path(mount.source)
    return None, None


def _bundle(key: str, host: Host) -> Path | None:
    """Return where containerd's shim has the container mounted, wherever its state is."""
    end = f"/{key}/rootfs".encode()
    with suppress(OSError):
        found = (point for point in mount_points(host.mountinfo()) if point.endswith(end))
        return next((Path(os.fsdecode(point)) for point in found), None)
    return None


def _beside(merged: bytes, host: Host) -> Layers | None:
    with suppress(OSError):
        return layers_beside(merged, host.read(merged.rpartition(b"/")[0] + b"/lower"))
    return None


def _by_kernel(pid: int) -> Layers | None:
    with suppress(OSError), Process.open(pid) as process:
        return parse_mountinfo(process.read("mountinfo"))
    return None
