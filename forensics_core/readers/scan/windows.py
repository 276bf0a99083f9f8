"""One file passing through the rules, in windows of bounded size.

A file that fits into a window is scanned as a whole. Of a longer one each window begins with the
last bytes of the one before, so that a match of up to that length is found wherever it lies. What a
rule loses then is documented for users in `docs/cli.md`.
"""

from __future__ import annotations

from forensics_core.readers.scan.rules import MAX_HITS, Matcher, RuleMatch, RuleName

WINDOW = 32 * 1024 * 1024
"""Bytes that are scanned at once."""
OVERLAP = 1024 * 1024
"""Bytes that a window shares with the one before."""


class Windows:
    """Collects the bytes of one file at a time."""

    def __init__(self, matcher: Matcher, size: int = WINDOW, overlap: int = OVERLAP) -> None:
        self._matcher = matcher
        self._size = size
        self._overlap = overlap
        self._pieces: list[bytes] = []
        self._held = self._seen = self._start = self._scanned = 0
        self._found: dict[RuleName, RuleMatch] = {}

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises `TimedOut`."""
        while data:
            if self._held == self._size:
                self._scan(keep=self._overlap)
            room = self._size - self._held
            taken, data = (data, b"") if len(data) <= room else (data[:room], data[room:])
            self._pieces.append(taken)
            self._held += len(taken)

    def skip_to(self, offset: int) -> None:
        """Go on elsewhere in the file: what lies before a hole is not next to what lies behind.

        Raises `TimedOut`.
        """
        if self._held > self._seen:
            self._scan(keep=0)
        self._clear()
        self._start = offset

    def scan_rest(self) -> None:
        """Scan what is left of the file, which is whole. Raises `TimedOut`."""
        if self._held > self._seen or not self._scanned:
            self._scan(keep=0)

    def drop(self) -> list[RuleMatch]:
        """Forget the file; return what was found in it. Another may come."""
        found = [*self._found.values()]
        self._clear()
        self._start = self._scanned = 0
        self._found = {}
        return found

    def _clear(self) -> None:
        self._pieces = []
        self._held = self._seen = 0

    def _scan(self, keep: int) -> None:
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        # Freed before the rules look, which need the memory too.
        self._pieces = []
        for found in self._matcher.scan(data, self._start, self._seen, self._found):
            known = self._found.setdefault(found.name, found)
            if known is not found:
                known.hits += found.hits[: MAX_HITS - len(known.hits)]
                known.total += found.total
        self._scanned += 1
        self._start += len(data) - keep
        self._pieces = [data[len(data) - keep :]] if keep else []
        self._held = self._seen = keep
