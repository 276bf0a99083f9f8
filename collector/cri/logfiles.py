"""Which files a CRI runtime writes a container's output to.

They lie together: `0.log`, `1.log` of the next start, and rotated ones with a time behind, some
packed by gzip. They are stored as they are, each line with its time and stream in front.

Source: https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import PurePosixPath

from collector.files.logfiles import LogName
from collector.files.safe_open import FOLDER, opened
from collector.node.host import Host
from forensics_core.bundle.layout import fit

MAX_NAMES = 100_000
"""Entries of the folder that are looked at."""
_LOG = re.compile(r"(\d+)\.log(\..+)?")


def names(host: Host, log_path: str) -> list[LogName]:
    """Return the logs beside `log_path`, the newest last; just that one if they cannot be listed.

    What has a log's name but is a link or a folder is among them: opening it fails and is told.
    """
    path = PurePosixPath(log_path)
    if not path.name:
        return []
    try:
        found = _listed(host, path)
    except OSError:
        found = []
    return [_log(path.parent, name) for name in sorted({*found, path.name}, key=_age)]


def _listed(host: Host, path: PurePosixPath) -> list[str]:
    with opened(host.open(str(path.parent), FOLDER)) as folder, os.scandir(folder) as entries:
        seen = (entry.name for entry in islice(entries, MAX_NAMES))
        return [name for name in seen if name.startswith(path.name) or _LOG.fullmatch(name)]


def _log(folder: PurePosixPath, name: str) -> LogName:
    packed = name.endswith(".gz")
    return LogName(f"{folder}/{name}", fit(name), "application/gzip" if packed else "text/plain")


def _age(name: str) -> tuple[int, bool, str]:
    """Return what sorts logs: by the container's start, then rotated ones, then the current one."""
    match = _LOG.fullmatch(name)
    if match is None:
        return -1, False, name
    return int(match[1]), match[2] is None, name
