"""SHA-256 of the programs that processes run, deleted ones and those of a memfd too.

Each program is read once, however many processes run it, and within a budget: a container may keep
large ones, and keep them where reading takes long::

    programs = Programs()
    digest = await programs.digest(4711)
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass, field

from collector.files.safe_open import opened
from collector.node.abandonable import run_abandonable
from collector.node.procfs import Process
from collector.runtimes.runtime import Unavailable

MAX_FILE = 1024**3
"""Bytes of one program; a longer one is not hashed."""
MAX_TOTAL = 8 * 1024**3
"""Bytes of all programs of a container."""
MAX_SECONDS = 120.0
"""Seconds that all of them may take; one may take a quarter."""
_BLOCK = 1024 * 1024

Identity = tuple[int, int, int, int]
"""Device, inode, size, and when it was changed: another one of the same number is another file."""


@dataclass(slots=True)
class Programs:
    """What is known of the programs of one container."""

    left: int = MAX_TOTAL
    seconds: float = MAX_SECONDS
    skipped: int = 0
    """Processes whose program was not hashed."""
    _digests: dict[Identity, str] = field(default_factory=dict)

    async def digest(self, pid: int) -> str:
        """Return the SHA-256 of what a process runs; nothing where it cannot be had."""
        begun = time.monotonic()
        try:
            limit = min(self.seconds, MAX_SECONDS / 4)
            if limit <= 0:
                raise Unavailable("The time for hashing is used up", reason="Deadline")
            found = await run_abandonable(
                limit, f"the program of {pid}", self.look, pid, begun + limit
            )
        except (FileNotFoundError, ProcessLookupError):
            return ""  # a thread of the kernel, or a process that has ended
        except (Unavailable, OSError):
            found = ""
        finally:
            self.seconds -= time.monotonic() - begun
        self.skipped += not found
        return found

    def look(self, pid: int, until: float) -> str:
        """Do the same in this thread, which gives up at a time of the monotonic clock."""
        with Process.open(pid) as process:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            with opened(os.open("exe", flags, dir_fd=process.folder)) as file:
                return self._of(file, until)

    def _of(self, file: int, until: float) -> str:
        found = os.fstat(file)
        identity = found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
        if identity in self._digests:
            return self._digests[identity]
        if not stat.S_ISREG(found.st_mode) or found.st_size > min(MAX_FILE, self.left):
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
