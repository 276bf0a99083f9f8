"""Where the Docker Engine says that it keeps a container's files."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from collector.files.mounts import mounted_beneath, mounted_layers
from collector.files.overlay import Layers
from collector.files.view import PLACEHOLDERS, Storage
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo

_WHOLE = {"vfs": "dir", "btrfs": "subvolumes"}
"""Drivers that keep a whole copy in a folder, and where beneath theirs."""
_MOUNTED = {"zfs": "graph/{}", "fuse-overlayfs": "{}/merged"}
"""Drivers that mount it while the container runs."""
_KEY = re.compile(r"[0-9a-z-]{1,100}")


def storage(container: ContainerInfo, host: Host) -> Storage:
    """Return where the files are: by what the engine says of overlay2, else by what is mounted.

    With containerd's image store, the default since Docker 29, the engine says nothing; while the
    container runs, its file system is mounted beneath the container's ID.
    """
    said: dict[str, Any] = json.loads(container.document)
    driver = said.get("GraphDriver") or {}
    data = driver.get("Data") or {}
    name = str(driver.get("Name") or "")
    places = PLACEHOLDERS | {str(row.get("Destination")) for row in said.get("Mounts") or ()}
    if name == "overlay2" and data.keys() >= {"LowerDir", "UpperDir", "MergedDir"}:
        merged: Path | None = Path(data["MergedDir"])
        layers: Layers | None = _overlay2(data, host)
    else:
        merged = mounted_beneath(f"/{container.key}", host) if container.pid else None
        layers = mounted_layers(merged, host) if merged else None
    if layers is None:
        return replace(_whole_copy(said, name, host), destinations=places, driver=name)
    return Storage(merged, layers, places, name)


def _whole_copy(said: dict[str, Any], driver: str, host: Host) -> Storage:
    """Return where a driver without layers keeps a container, by its ID for the container.

    The engine's API does not say; a file beneath its data folder does.
    """
    root = _data_root(said)
    if not root or driver not in {*_WHOLE, *_MOUNTED}:
        return Storage()
    try:
        key = host.read(f"{root}/image/{driver}/layerdb/mounts/{said['Id']}/mount-id").decode()
    except (OSError, UnicodeDecodeError):
        return Storage()
    if not _KEY.fullmatch(key):
        return Storage()
    if driver in _WHOLE:
        return Storage(plain=Path(f"{root}/{driver}/{_WHOLE[driver]}/{key}"))
    return Storage(merged=Path(f"{root}/{driver}/{_MOUNTED[driver].format(key)}"))


def _data_root(said: dict[str, Any]) -> str:
    """Return the engine's data folder: a container's own files lie in `containers/ID` there."""
    for name in ("HostsPath", "HostnamePath", "ResolvConfPath", "LogPath"):
        path = str(said.get(name) or "")
        if path.startswith("/") and path.count("/containers/"):
            return path.rpartition("/containers/")[0]
    return ""


def _overlay2(data: dict[str, str], host: Host) -> Layers:
    """Return the layers; only the kernel says how a rootless engine marks what is deleted."""
    lower_layers = tuple(os.fsencode(path) for path in data["LowerDir"].split(":"))
    layers = Layers(os.fsencode(data["UpperDir"]), lower_layers)
    seen = mounted_layers(Path(data["MergedDir"]), host)
    return replace(layers, marks=seen.marks) if seen else layers
