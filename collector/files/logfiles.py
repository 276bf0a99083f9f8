"""Files that a runtime writes a container's output to, open for reading.

An open file stays whole whatever becomes of its name: a runtime rotates logs, and a kubelet removes
those of former starts, while others are still being read. Nothing that is written after it was
opened is read: a log that goes on forever ends all the same. Symbolic links are never followed out
of the runtime's machine, nor at all in the last part of a path.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from anyio import CancelScope, to_thread

from collector.files.safe_open import FOLDER, PLACE, open_data, opened
from collector.node.abandonable import run_abandonable
from collector.node.host import Host

MAX_FILES = 64
"""Logs of one container, the newest ones, that are captured."""
TIMEOUT = 30.0
"""Seconds that opening them may take."""
_BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class LogName:
    """A log by its path, and by what it is called in the bundle."""

    path: str
    name: str
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class LogNames:
    """The logs of a container."""

    names: list[LogName]
    """The newest last."""
    unlisted: str = ""
    """Why there may be others."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log that is open."""

    name: str
    """In the bundle's folder of logs."""
    media_type: str
    descriptor: int
    size: int
    """When it was opened."""

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield what it held when it was opened; less if it was truncated since."""
        position = 0
        while position < self.size:
            wanted = min(_BLOCK, self.size - position)
            block = await to_thread.run_sync(os.pread, self.descriptor, wanted, position)
            if not block:
                return
            position += len(block)
            yield block


@dataclass(frozen=True, slots=True)
class LogFiles:
    """The logs of one container."""

    files: tuple[LogFile, ...] = ()
    """The newest last."""
    failures: tuple[tuple[str, OSError], ...] = ()
    """The names of logs that could not be opened, and why."""
    total: int = 0
    """How many logs there are, those too that are too many to be opened."""
    unlisted: str = ""
    """Why there may be others."""


@asynccontextmanager
async def open_logs(
    host: Host, names: Iterable[LogName], unlisted: str = ""
) -> AsyncIterator[LogFiles]:
    """Open the newest of the logs `names`, of which the newest is last, for the block.

    `unlisted` says why there may be others.
    """
    with ExitStack() as stack:
        try:
            found = await run_abandonable(TIMEOUT, "the logs", _open_all, stack, host, [*names])
            yield replace(found, unlisted=unlisted)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(stack.close)


def _open_all(stack: ExitStack, host: Host, names: list[LogName]) -> LogFiles:
    files, failures = list[LogFile](), list[tuple[str, OSError]]()
    taken = set[str]()
    # The newest first: an older one may take its name when the runtime rotates meanwhile.
    for each in reversed(names[-MAX_FILES:]):
        try:
            if each.name in taken:
                raise FileExistsError(errno.EEXIST, "another log is called so in the bundle")
            data = stack.enter_context(opened(_open(host, each.path)))
        except OSError as error:
            failures.append((each.name, error))
        else:
            taken.add(each.name)
            files.append(LogFile(each.name, each.media_type, data, os.fstat(data).st_size))
    return LogFiles(tuple(reversed(files)), tuple(reversed(failures)), len(names))


def _open(host: Host, path: str) -> int:
    folder, _, name = path.rpartition("/")
    with (
        opened(host.open(folder or "/", FOLDER)) as place,
        opened(os.open(name, PLACE, dir_fd=place)) as file,
    ):
        return open_data(file)


def reason(error: OSError) -> str:
    """Return the manifest's word for why a log could not be opened."""
    if isinstance(error, PermissionError):
        return "NotPermitted"
    return "Gone" if error.errno in {errno.ENOENT, errno.ENOTDIR} else "Unreadable"
