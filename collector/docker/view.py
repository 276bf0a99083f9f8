"""Where the Docker Engine says that it keeps a container's files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from collector.files.mounts import mounted_beneath, mounted_layers
from collector.files.overlay import Layers
from collector.files.view import PLACEHOLDERS, Storage
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo


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
    return Storage(merged if layers else None, layers, places, name)


def _overlay2(data: dict[str, str], host: Host) -> Layers:
    """Return the layers; only the kernel says how a rootless engine marks what is deleted."""
    lowers = tuple(os.fsencode(path) for path in data["LowerDir"].split(":"))
    layers = Layers(os.fsencode(data["UpperDir"]), lowers)
    seen = mounted_layers(Path(data["MergedDir"]), host)
    return replace(layers, marks=seen.marks) if seen else layers
