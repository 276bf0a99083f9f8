"""What is in a volume of secrets, without saying it: names, sizes, and keyed digests.

::

    listing = WithheldList(key)
    for _ in listing.blocks([top]): ...
    rows = listing.rows

A digest is HMAC-SHA256 with a random key of the capture. Two files are known to be alike, in one
bundle, and a responder who has a value can see whether it is that one; but a short secret cannot be
looked up in a table of SHA-256s, nor found again in another capture, by whoever sees the digests
without the key.
"""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from collector.documents import portable
from collector.files.mountarchive import MountArchive, MountLoss
from collector.files.safe_open import open_data, opened

ALGORITHM = "HMAC-SHA256"
MAX_FILES = 10_000
"""Files of all such volumes of a container that are listed."""
MAX_FILE = 16 * 1024 * 1024
"""Bytes of one: a Secret of Kubernetes has one megabyte at most."""
_STEP = 256 * 1024


@dataclass
class WithheldList(MountArchive):
    """The list under way: it walks as an archive does, and writes none."""

    key: bytes = b""
    most: int = MAX_FILES
    rows: list[dict[str, Any]] = field(default_factory=list)
    """One of each file, directory and link."""

    def _member(self, path: bytes, place: int, loss: MountLoss) -> Iterator[bytes]:
        found = os.fstat(place)
        if len(self.rows) >= self.most:
            loss.add(path, 0, f"{self.most} such files are listed at most")
            return
        row: dict[str, Any] = {
            "path": portable(path),
            "mode": f"{stat.S_IMODE(found.st_mode):04o}",
            "size": found.st_size,
            "mtime": found.st_mtime_ns,
        }
        if stat.S_ISLNK(found.st_mode):
            row["target"] = portable(os.readlink(b"", dir_fd=place))
        elif stat.S_ISREG(found.st_mode):
            row["hmac"] = self._digest(path, place, found.st_size, loss)
        self.rows.append(row)
        yield b""

    def _digest(self, path: bytes, place: int, size: int, loss: MountLoss) -> str | None:
        if size > MAX_FILE:
            loss.add(path, size, f"files of {MAX_FILE} bytes at most are read")
            return None
        digest, left = hmac.new(self.key, digestmod="sha256"), MAX_FILE
        try:
            with opened(open_data(place)) as file:
                while left > 0 and (block := os.read(file, _STEP)):
                    digest.update(block)
                    left -= len(block)
        except OSError as error:
            loss.add(path, size, error.strerror or str(error))
            return None
        return digest.hexdigest()
