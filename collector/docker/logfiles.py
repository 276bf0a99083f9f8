"""Which files the Docker Engine writes a container's output to.

They lie in the container's own folder, whichever the logging driver: `ID-json.log` of `json-file`,
`local-logs/container.log` of `local`, and `container-cached.log`, which the engine keeps beside
drivers that send the log elsewhere. Rotated ones end in `.1`, `.2.gz`, the higher the older.

Source: https://docs.docker.com/engine/logging/configure/
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from collector.files.logfiles import LogName
from collector.files.safe_open import FOLDER, opened
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo

JSON_FILE = "json-file.log"
_ROTATED = re.compile(r"(?:\.(\d+))?(?:\.gz)?")
_PLACES = ("LogPath", "HostnamePath", "HostsPath", "ResolvConfPath")
"""What the engine says that lies in the container's folder; which of it depends on the driver."""


def driver(document: bytes) -> str:
    """Return the logging driver of a container that the engine described."""
    said: dict[str, Any] = json.loads(document)
    return str(((said.get("HostConfig") or {}).get("LogConfig") or {}).get("Type") or "")


def names(host: Host, container: ContainerInfo) -> list[LogName]:
    """Return the container's logs, of each kind the newest last. Raises `OSError`."""
    said: dict[str, Any] = json.loads(container.document)
    paths = (PurePosixPath(str(said.get(place) or "")) for place in _PLACES)
    # Where a driver's own file was put elsewhere, the folder is still named after the container.
    folder = next((path.parent for path in paths if path.parent.name == container.key), None)
    if folder is None:
        return []
    began = container.state != "created"
    current = {PurePosixPath(str(said.get("LogPath") or "")).name} if began else set[str]()
    kinds = (
        (folder, f"{container.key}-json.log", JSON_FILE, "application/x-ndjson"),
        (folder / "local-logs", "container.log", "local.log", "application/octet-stream"),
        (folder, "container-cached.log", "cached.log", "application/octet-stream"),
    )
    return [log for kind in kinds for log in _beside(host, *kind, current)]


def _beside(
    host: Host, folder: PurePosixPath, own: str, name: str, media_type: str, current: set[str]
) -> list[LogName]:
    """Return logs of one kind, and one that is `current` even if it is gone: that is told."""
    found = current & {own}
    with (
        suppress(FileNotFoundError, NotADirectoryError),
        opened(host.open(str(folder), FOLDER)) as place,
        os.scandir(place) as entries,
    ):
        found |= {entry.name for entry in entries if entry.name.startswith(own)}
    endings = ((each.removeprefix(own), each) for each in found)
    ages = ((_age(ending), ending, each) for ending, each in endings)
    return [
        LogName(
            f"{folder}/{each}",
            name + ending,
            "application/gzip" if each.endswith(".gz") else media_type,
        )
        for age, ending, each in sorted(ages, key=lambda row: row[0], reverse=True)
        if age >= 0
    ]


def _age(ending: str) -> int:
    """Return how often a log was rotated, by its ending; -1 if it has none of a log's."""
    match = _ROTATED.fullmatch(ending)
    return int(match[1] or 0) if match else -1
