"""Where the Docker Engine says that it keeps a container's files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from collector.overlay import Layers
from collector.runtime import ContainerInfo
from collector.view import PLACEHOLDERS, Storage


def storage(container: ContainerInfo) -> Storage:
    """Return what the engine said of the container's storage; overlay2 is what we can follow."""
    said: dict[str, Any] = json.loads(container.document)
    driver = said.get("GraphDriver") or {}
    data = driver.get("Data") or {}
    mounted = {str(row.get("Destination")) for row in said.get("Mounts") or ()}
    places = PLACEHOLDERS | mounted
    if driver.get("Name") != "overlay2":
        return Storage(destinations=places, driver=str(driver.get("Name") or ""))
    lowers = tuple(os.fsencode(path) for path in data["LowerDir"].split(":"))
    layers = Layers(os.fsencode(data["UpperDir"]), lowers)
    return Storage(Path(data["MergedDir"]), layers, places, "overlay2")
