"""One object's bytes, as stored and decompressed, compared with what the manifest promises::

check = ByteCheck(expected)  # each of `check.work` runs in a thread of its own, until `close`
check.count(block)
check.feed(block)  # in a thread
check.finish()  # in a thread, after the last block
check.close()
problem = check.verdict()
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from forensics_core._internal.processors import compressors
from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.unpacking import Original, Unpacking
from forensics_core.bundle.verification import Problem, ProblemKind

BESIDE = 8 * 1024 * 1024
"""Bytes of an original beyond which threads of its own decompress and hash it."""
AT_ONCE = min(compressors(), 3)
"""Frames that are decompressed at once: more come out than one thread can hash. Asked when this is
loaded, as it reads a file."""


class ByteCheck:
    """One object under way."""

    def __init__(self, expected: ExpectedObject) -> None:
        self._expected = expected
        self._sha256 = hashlib.sha256()
        self._size = 0
        most = expected.original_size
        self._threads = Unpacking(most, AT_ONCE) if expected.compressed and most > BESIDE else None
        self._original = self._threads or Original(most)

    @property
    def work(self) -> Sequence[Callable[[], None]]:
        """What has to run beside, where there is much: each in a thread of its own."""
        return self._threads.work if self._threads else ()

    def count(self, block: bytes) -> None:
        """Count the next bytes, as stored; see `too_long`."""
        self._size += len(block)

    def feed(self, block: bytes) -> None:
        """Take the next bytes, as stored. Called in a thread."""
        self._sha256.update(block)
        if self._expected.compressed:
            self._original.put(block)

    def finish(self) -> None:
        """Take what is left after the last block. Called in a thread."""
        if self._threads:
            self._threads.finish()

    def close(self) -> None:
        """Say that no block follows; never waits."""
        if self._threads:
            self._threads.end()

    @property
    def too_long(self) -> bool:
        """Whether more came than there can be."""
        return self._size > self._expected.most

    def verdict(self) -> Problem | None:
        """Return what is wrong, after the last block."""
        stored = self._stored_verdict()
        if not self._expected.compressed:
            return self._problem(ProblemKind.MISMATCH, stored)
        if stored and self._original.flaw:
            stored = f"{stored}; it {self._original.flaw}"
        if stored:
            return self._problem(ProblemKind.MISMATCH, stored)
        if self._original.flaw:
            message = f"it {self._original.flaw}, although it is stored as the manifest says"
            return self._problem(ProblemKind.UNREADABLE, message)
        return self._problem(ProblemKind.MISMATCH, self._original_verdict())

    def _stored_verdict(self) -> str:
        expected, size = self._expected, self._size
        if expected.size is not None and size < expected.size:
            return f"it is truncated: {size} of {expected.size} bytes are there"
        if self.too_long:
            return f"it is too long: there are more than {expected.most} bytes"
        found = self._sha256.hexdigest()
        if found == expected.sha256:
            return ""
        return f"its SHA-256 is {found}, the manifest says {expected.sha256}"

    def _original_verdict(self) -> str:
        expected, found = self._expected, self._original
        if found.size != expected.original_size:
            return f"it decompresses to {found.size} of {expected.original_size} bytes"
        if found.sha256.hexdigest() == expected.original_sha256:
            return ""
        return f"decompressed, its SHA-256 is not {expected.original_sha256}"

    def _problem(self, kind: ProblemKind, message: str) -> Problem | None:
        return Problem(kind, self._expected.name, message) if message else None
