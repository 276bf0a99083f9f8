"""Where the Docker Engine keeps a container's files and logs.

Logs lie in the container's own folder, whichever the logging driver: `ID-json.log` of `json-file`,
`local-logs/container.log` of `local`, and `container-cached.log`, which the engine keeps beside
drivers that send the log elsewhere. Rotated ones end in `.1`, `.2.gz`, the higher the older.

Source: https://docs.docker.com/engine/logging/configure/
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from collector.files.logfiles import LogName
from collector.files.mounts import mounted_beneath, mounted_layers
from collector.files.overlay import OverlayDirectories
from collector.files.safe_open import FOLDER, opened
from collector.files.view import PLACEHOLDERS, RuntimeStorage
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo

_WHOLE = {"vfs": "dir", "btrfs": "subvolumes"}
"""Drivers that keep a whole copy in a folder, and where beneath theirs."""
_MOUNTED = {"zfs": "graph/{}", "fuse-overlayfs": "{}/merged"}
"""Drivers that mount it while the container runs."""
_KEY = re.compile(r"[0-9a-z-]{1,100}")


def storage(container: ContainerInfo, host: Host) -> RuntimeStorage:
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
        layers: OverlayDirectories | None = _overlay2(data, host)
    else:
        merged = mounted_beneath(f"/{container.key}", host) if container.pid else None
        layers = mounted_layers(merged, host) if merged else None
    if layers is None:
        return replace(_whole_copy(said, name, host), destinations=places, driver=name)
    return RuntimeStorage(merged, layers, places, name)


def _whole_copy(said: dict[str, Any], driver: str, host: Host) -> RuntimeStorage:
    """Return where a driver without layers keeps a container, by its ID for the container.

    The engine's API does not say; a file beneath its data folder does.
    """
    root = _data_root(said)
    if not root or driver not in {*_WHOLE, *_MOUNTED}:
        return RuntimeStorage()
    try:
        key = host.read(f"{root}/image/{driver}/layerdb/mounts/{said['Id']}/mount-id").decode()
    except (OSError, UnicodeDecodeError):
        return RuntimeStorage()
    if not _KEY.fullmatch(key):
        return RuntimeStorage()
    if driver in _WHOLE:
        return RuntimeStorage(plain=Path(f"{root}/{driver}/{_WHOLE[driver]}/{key}"))
    return RuntimeStorage(merged=Path(f"{root}/{driver}/{_MOUNTED[driver].format(key)}"))


def _data_root(said: dict[str, Any]) -> str:
    """Return the engine's data folder: a container's own files lie in `containers/ID` there."""
    for name in ("HostsPath", "HostnamePath", "ResolvConfPath", "LogPath"):
        path = str(said.get(name) or "")
        if path.startswith("/") and path.count("/containers/"):
            return path.rpartition("/containers/")[0]
    return ""


def _overlay2(data: dict[str, str], host: Host) -> OverlayDirectories:
    """Return the layers; a rootless engine marks by other attributes what is deleted, as the
    kernel says while it is mounted."""
    lower_layers = tuple(os.fsencode(path) for path in data["LowerDir"].split(":"))
    layers = OverlayDirectories(os.fsencode(data["UpperDir"]), lower_layers)
    seen = mounted_layers(Path(data["MergedDir"]), host)
    if seen is None and _is_rootless(host, layers.upper):
        return replace(layers, marks=b"user.overlay.")
    return replace(layers, marks=seen.marks) if seen else layers


def _is_rootless(host: Host, upper: bytes) -> bool:
    """Whether the engine is a user's own: the folder of all its layers is that user's then."""
    folder = upper.rpartition(b"/")[0].rpartition(b"/")[0]
    with suppress(OSError), opened(host.open(folder)) as place:
        return os.fstat(place).st_uid != 0
    return False


JSON_FILE = "json-file.log"
_ROTATED = re.compile(r"(?:\.(\d+))?(?:\.gz)?")
_PLACES = ("LogPath", "HostnamePath", "HostsPath", "ResolvConfPath")
"""What the engine says that lies in the container's folder; which of it depends on the driver."""


def log_driver(document: bytes) -> str:
    """Return the logging driver of a container that the engine described."""
    said: dict[str, Any] = json.loads(document)
    return str(((said.get("HostConfig") or {}).get("LogConfig") or {}).get("Type") or "")


def log_names(host: Host, container: ContainerInfo) -> list[LogName]:
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
