"""SHA-256 of the programs that processes run and of the libraries that they have mapped.

Deleted ones and those of a memfd too. Each file is read once, however many processes have it, and
within a budget: a container may keep large ones, and keep them where reading takes long::

    programs = Programs()
    facts = await programs.describe(4711)   # {"exeSha256": "...", "executables": [...]}
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from collector.documents import portable
from collector.files.safe_open import open_data, open_in_root, opened
from collector.files.statx import statx
from collector.node.abandonable import AbandonedThreads, raise_if_abandoned, run_abandonable
from collector.node.deletedfiles import DeletedFile
from collector.node.procfs import Process
from collector.node.silent import is_silent, sees_silent
from collector.runtimes.runtime import Unavailable

MAX_FILE = 1024**3
"""Bytes of one program or library; a longer one is not hashed."""
MAX_TOTAL = 8 * 1024**3
"""Bytes of all that is hashed of a container."""
MAX_SECONDS = 120.0
"""Seconds that all of it may take; one file, or the files of one process, may take a quarter."""
MAX_EXECUTABLES = 1024
"""Files with code in the row of one process."""
MAX_LISTED = 100_000
"""Those in the rows of all processes of a container."""
_BLOCK = 1024 * 1024
_CODE = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) ..x. [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+) ([1-9]\d*) *(/[^\n]*)$",
    re.MULTILINE,
)
_DELETED = b" (deleted)"

T = TypeVar("T")
ProgramIdentity = tuple[int, int, int, int]
"""Device, inode, size, and when it was changed: another one of the same number is another file."""


@dataclass(slots=True)
class Programs:
    """What is known of the programs and libraries of one container."""

    left: int = MAX_TOTAL
    seconds: float = MAX_SECONDS
    listed: int = MAX_LISTED
    """Files that rows may still list."""
    skipped: int = 0
    """Times that something was not hashed."""
    abandoned: AbandonedThreads = field(default_factory=AbandonedThreads)
    _digests: dict[ProgramIdentity, str] = field(default_factory=dict)

    async def digest(self, pid: int) -> str:
        """Return the SHA-256 of what a process runs; nothing where it cannot be had."""
        return await self._in_time(f"the program of {pid}", "", self.look, pid)

    async def digest_held(self, file: DeletedFile) -> str:
        """Return that of a file which is held, however long it is."""
        return await self._in_time(file.member, "", self._held, file)

    async def describe(self, pid: int) -> dict[str, Any]:
        """Return what a row says of the code that a process runs, as of `processes.json`."""
        digest = await self.digest(pid)
        none: list[dict[str, Any]] = []
        found = await self._in_time(f"the libraries of {pid}", none, self.executables, pid)
        return {"exeSha256": digest or None, "executables": found}

    async def _in_time(
        self, what: str, nothing: T, action: Callable[..., T], argument: object
    ) -> T:
        begun = time.monotonic()
        try:
            limit = min(self.seconds, MAX_SECONDS / 4)
            if limit <= 0:
                raise Unavailable("The time for hashing is used up", reason="Deadline")
            found = await run_abandonable(
                limit, what, action, argument, begun + limit, abandoned=self.abandoned
            )
        except (FileNotFoundError, ProcessLookupError):
            return nothing  # a thread of the kernel, or a process that has ended
        except (Unavailable, OSError):
            found = nothing
        finally:
            self.seconds -= time.monotonic() - begun
        self.skipped += found == ""
        return found

    def look(self, pid: int, until: float) -> str:
        """Do what `digest` does in this thread, which gives up at a time of the monotonic clock."""
        with Process.open(pid) as process:
            link = os.O_PATH | os.O_CLOEXEC
            with opened(os.open("exe", link, dir_fd=process.folder)) as place:
                if is_silent(process, statx(place).device):
                    return ""
                with opened(open_data(place)) as file:  # which leaves its access time alone
                    return self._of(file, until)

    def executables(self, pid: int, until: float) -> list[dict[str, Any]]:
        """Return each file that a process has mapped as code; likewise."""
        found: list[dict[str, Any]] = []
        with Process.open(pid) as process:
            for area, device, inode, path in _mapped(process):
                raise_if_abandoned()
                if len(found) >= MAX_EXECUTABLES or self.listed <= 0:
                    self.skipped += 1
                    break
                self.listed -= 1
                digest = self._digest(process, (area, device, inode, path), until)
                found.append(
                    {
                        "path": portable(path),
                        "device": device.decode(),
                        "inode": int(inode),
                        "sha256": digest or None,
                    }
                )
        return found

    def _digest(
        self, process: Process, mapped: tuple[bytes, bytes, bytes, bytes], until: float
    ) -> str:
        area, device, inode, path = mapped
        with suppress(OSError):
            if not is_silent(process, device):
                with opened(_open(process, area, path, inode)) as file:
                    return self._of(file, until)
        return ""

    def _held(self, file: DeletedFile, until: float) -> str:
        if file.file is None or file.silent:
            return ""
        with opened(open_data(file.file.number)) as data:
            return self._of(data, until, self.left)

    def _of(self, file: int, until: float, most: int = MAX_FILE) -> str:
        found = os.fstat(file)
        identity = found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
        if identity in self._digests:
            return self._digests[identity]
        if not stat.S_ISREG(found.st_mode) or found.st_size > min(most, self.left):
            return ""
        digest, size = hashlib.sha256(), 0
        while block := os.read(file, _BLOCK):
            digest.update(block)
            size += len(block)
            if time.monotonic() > until or size > found.st_size:
                return ""
        self.left -= size
        self._digests[identity] = digest.hexdigest()
        return self._digests[identity]


def _mapped(process: Process) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    """Yield area, device, inode and path of each file with code, once."""
    known: set[tuple[bytes, bytes]] = set()
    for match in _CODE.finditer(process.read("maps")):
        start, end, device, inode, path = match.groups()
        if (device, inode) not in known:
            known.add((device, inode))
            yield b"%x-%x" % (int(start, 16), int(end, 16)), device, inode, path


def _open(process: Process, area: bytes, path: bytes, inode: bytes) -> int:
    """Open a mapped file: itself, or, where the kernel does not let us, what lies at its path now.

    Raises `OSError`, also where that is another file by now.
    """
    link = os.O_PATH | os.O_CLOEXEC
    with (
        suppress(PermissionError, FileNotFoundError),
        opened(os.open(b"map_files/" + area, link, dir_fd=process.folder)) as place,
    ):
        return open_data(place)
    if sees_silent(process):
        raise FileNotFoundError(path)
    folder = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    with (
        opened(os.open("root", folder, dir_fd=process.folder)) as root,
        opened(open_in_root(root, path.removesuffix(_DELETED))) as place,
    ):
        if os.fstat(place).st_ino != int(inode):
            raise FileNotFoundError(path)
        return open_data(place)
