"""The files that a CRI runtime writes a container's output to.

They lie together: `0.log`, `1.log` of the next start, and rotated ones with a time behind, some
packed by gzip. They are read as they are, each line with its time and stream in front. Symbolic
links are never followed out of the runtime's machine, nor at all in the last part of a path.

Source: https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePosixPath

from anyio import CancelScope, to_thread

from collector.files.beneath import FOLDER, PLACE, open_data, opened
from collector.node.host import Host
from collector.runtimes.runtime import Unavailable

_BLOCK = 256 * 1024
_LOG = re.compile(r"(\d+)\.log(\..+)?")


def names(host: Host, log_path: str) -> tuple[str, ...]:
    """Return the names of the logs beside `log_path`, the newest last.

    It is just that one where they cannot be listed.
    """
    path = PurePosixPath(log_path)
    if not path.name:
        return ()
    try:
        with opened(host.open(str(path.parent), FOLDER)) as folder, os.scandir(folder) as entries:
            found = [entry.name for entry in entries if _is_log(entry, path.name)]
    except OSError:
        return (path.name,)
    return tuple(sorted(found, key=_age)) or (path.name,)


def _age(name: str) -> tuple[int, bool, str]:
    """Return what sorts logs: by the container's start, then rotated ones, then the current one."""
    match = _LOG.fullmatch(name)
    if match is None:
        return -1, False, name
    return int(match[1]), match[2] is None, name


def _is_log(entry: os.DirEntry[str], own: str) -> bool:
    named = entry.name.startswith(own) or bool(_LOG.fullmatch(entry.name))
    return named and entry.is_file(follow_symlinks=False)


@asynccontextmanager
async def read(host: Host, log_path: str, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Read one log, up to the length that it has now. Raises `Unavailable` if it is not there."""
    try:
        data = await to_thread.run_sync(_open, host, log_path, name)
    except OSError as error:
        raise Unavailable(
            f"The log {name} cannot be read on the node: {error.strerror}",
            reason="NotPermitted" if isinstance(error, PermissionError) else "Gone",
        ) from error
    try:
        yield _blocks(data)
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(os.close, data)


def _open(host: Host, log_path: str, name: str) -> int:
    with (
        opened(host.open(str(PurePosixPath(log_path).parent), FOLDER)) as folder,
        opened(os.open(name, PLACE, dir_fd=folder)) as place,
    ):
        return open_data(place)


async def _blocks(data: int) -> AsyncIterator[bytes]:
    left = os.fstat(data).st_size
    while left > 0 and (block := await to_thread.run_sync(os.read, data, min(_BLOCK, left))):
        left -= len(block)
        yield block
