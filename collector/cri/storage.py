"""Where containerd and CRI-O keep a container's files and logs.

Logs lie together: `0.log`, `1.log` of the next start, and rotated ones with a time behind, some
packed by gzip. They are stored as they are, each line with its time and stream in front.

Source: https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath

from collector.cri._proto import containerd_pb2 as containerd
from collector.cri.inspection import destinations, details, specification
from collector.files.logfiles import LogName, LogNames
from collector.files.mounts import mounted_beneath, mounted_layers
from collector.files.overlay import OverlayDirectories, layers_beside, parse_options
from collector.files.safe_open import FOLDER, opened
from collector.files.view import RuntimeStorage
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo
from forensics_core.bundle.layout import fit


def storage(
    container: ContainerInfo, mounts: Iterable[containerd.Mount], host: Host
) -> RuntimeStorage:
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
    return RuntimeStorage(
        merged, layers, destinations(spec), str(info.get("snapshotter") or ""), plain
    )


def _by_mounts(mounts: Iterable[containerd.Mount]) -> tuple[OverlayDirectories | None, Path | None]:
    """Return the layers of an overlay, or the folder of a snapshot that is a whole copy."""
    for mount in mounts:
        if mount.type == "overlay":
            return parse_options(os.fsencode(option) for option in mount.options), None
        if mount.type == "bind":
            return None, Path(mount.source)
    return None, None


def _beside(merged: bytes, host: Host) -> OverlayDirectories | None:
    with suppress(OSError):
        return layers_beside(merged, host.read(merged.rpartition(b"/")[0] + b"/lower"))
    return None


MAX_NAMES = 100_000
"""Entries of the folder that are looked at."""
_LOG = re.compile(r"(\d+)\.log(\..+)?")


def log_names(host: Host, log_path: str, most: int = MAX_NAMES) -> LogNames:
    """Return the logs beside `log_path`, the newest last; just that one if they cannot be listed.

    What has a log's name but is a link or a folder is among them: opening it fails and is told.
    """
    path = PurePosixPath(log_path)
    if not path.name:
        return LogNames([])
    found, unlisted = list[str](), ""
    try:
        with opened(host.open(str(path.parent), FOLDER)) as folder, os.scandir(folder) as entries:
            for number, entry in enumerate(islice(entries, most + 1)):
                if number == most:
                    unlisted = f"{path.parent} has more than {most} names"
                elif entry.name.startswith(path.name) or _LOG.fullmatch(entry.name):
                    found.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass  # so is the log, which opening it tells
    except OSError as error:
        unlisted = f"{path.parent} cannot be listed: {error.strerror}"
    names = [_log(path.parent, name) for name in sorted({*found, path.name}, key=_age)]
    return LogNames(names, unlisted)


def _log(folder: PurePosixPath, name: str) -> LogName:
    packed = name.endswith(".gz")
    return LogName(f"{folder}/{name}", fit(name), "application/gzip" if packed else "text/plain")


def _age(name: str) -> tuple[int, bool, str]:
    """Return what sorts logs: by the container's start, then rotated ones, then the current one."""
    match = _LOG.fullmatch(name)
    if match is None:
        return -1, False, name
    return int(match[1]), match[2] is None, name
