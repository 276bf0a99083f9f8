"""Looking at one thing after the other: members of archives, cores, logs, what processes have."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping

from forensics_core.readers.scan.known import NOT_KNOWN, HashReputation, KnownHashes
from forensics_core.readers.scan.results import ScanCounts, ScannedKind, ScannedObject, ScanResult
from forensics_core.readers.scan.rules import RuleMatch
from forensics_core.readers.scan.session import ScanAnswer, ScanEngine, ScanQuery
from forensics_core.readers.scan.windows import WINDOW
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.sparse import SparseMap
from forensics_core.tarindex.walk import Hash

MAX_TIMED_OUT = 100
"""Names of what the rules took too long for that are kept; all are counted."""


class FileScanner:
    """Hands on what it is given to the rules, and collects what is worth telling.

    With `every_file` that is every file; else those with a match, and those that are an IOC.
    """

    def __init__(
        self,
        engine: ScanEngine | None,
        known: KnownHashes | None,
        counts: ScanCounts,
        *,
        every_file: bool = False,
    ) -> None:
        self.engine = engine
        """None: there are no rules, and no bytes have to be read for them."""
        self.known = known
        self.counts = counts
        self._every_file = every_file
        self._results: list[ScanResult] = []
        self._size = 0

    @property
    def index_suffices(self) -> bool:
        """Whether SHA-256s, which an index has, are all that is needed of an archive."""
        of_index = self.known is not None and self.known.algorithms <= {"sha256"}
        return of_index and self.engine is None

    def take(self) -> list[ScanResult]:
        """Return what was found since the last time."""
        results, self._results = self._results, []
        return results

    def feed(self, data: memoryview) -> None:
        """Take the next bytes of what is being looked at."""
        self._size += len(data)
        if self.engine:
            self.engine.data(data)

    def skip_to(self, offset: int) -> None:
        """Go on at another place of it."""
        if self.engine:
            self.engine.skip_to(offset)

    def finish(self, subject: ScannedObject, digests: Mapping[str, str] | None = None) -> None:
        """Tell of what passed, which was all of `subject`; `digests` are a file's, by algorithm."""
        asked = ScanQuery(subject, digests or {}, self._size)
        self._size = 0
        if self.engine:
            self.engine.end(asked)
        else:
            self.answer(ScanAnswer(asked, [], timed_out=False))

    def flush(self) -> None:
        """Let the rules see all that was fed."""
        if self.engine:
            self.engine.flush()

    def abandon(self) -> None:
        """Forget what passed of something that has no end: it cannot be relied on."""
        self._size = 0
        if self.engine:
            self.engine.drop()

    def answer(self, answer: ScanAnswer) -> None:
        """Take what is known of something by now."""
        asked, counts = answer.asked, self.counts
        counts.scanned[asked.subject.kind] += 1
        counts.size += asked.size
        counts.windowed += asked.size > WINDOW
        counts.matches += len(answer.found)
        if answer.timed_out:
            counts.timed_out_total += 1
            if len(counts.timed_out) < MAX_TIMED_OUT:
                counts.timed_out.append(asked.subject.shown)
        self._report(asked, answer.found)

    def _report(self, asked: ScanQuery, found: list[RuleMatch]) -> None:
        subject, verdict = asked.subject, NOT_KNOWN
        if self.known and subject.kind is ScannedKind.FILE:
            verdict = self.known.verdict(asked.digests)
            self.counts.standings[verdict.standing] += 1
        sha256 = asked.digests.get("sha256", "")
        self._results += [ScanResult(subject, one, sha256, verdict) for one in found]
        worth_it = verdict.standing is HashReputation.IOC or self._every_file
        if worth_it and not found and subject.kind is ScannedKind.FILE:
            self._results.append(ScanResult(subject, None, sha256, verdict))


class ArchiveScanner:
    """Takes what passes of an archive: see `TarWalk`."""

    def __init__(self, look: FileScanner, container: str, artifact: str) -> None:
        self._look = look
        self._container = container
        self._artifact = artifact
        wanted = look.known.algorithms if look.known else set[str]()
        self._algorithms = sorted(wanted - {"sha256"})
        self._hashes: dict[str, Hash] = {}
        self._pieces: Iterator[tuple[int, int]] | None = None
        self._left = self._end = 0

    def begin(self, member: Member, places: SparseMap | None) -> None:
        """Expect a member's data."""
        self._pieces = places.pieces() if places else None
        self._left = self._end = 0
        # Holes are part of what a hash is over, and can be exabytes: only the index knows that one.
        self._hashes = {} if member.sparse else self._new_hashes()

    def _new_hashes(self) -> dict[str, Hash]:
        return {name: hashlib.new(name, usedforsecurity=False) for name in self._algorithms}

    def data(self, piece: memoryview) -> None:
        """Take some of it."""
        for digest in self._hashes.values():
            digest.update(piece)
        if self._pieces is None:
            self._look.feed(piece)
            return
        while piece:
            self._next_piece(self._pieces)
            taken = piece[: self._left]
            self._look.feed(taken)
            self._left -= len(taken)
            self._end += len(taken)
            piece = piece[len(taken) :]

    def _next_piece(self, pieces: Iterator[tuple[int, int]]) -> None:
        while not self._left:
            offset, self._left = next(pieces)
            if offset != self._end and self._left:
                self._look.skip_to(offset)
            self._end = offset

    def __call__(self, member: Member) -> None:
        """Tell of a member, whose data has passed."""
        if member.kind == "file":
            if not member.stored:
                self._hashes = self._new_hashes()  # nobody expects the data of an empty file
            digests = {"sha256": member.sha256}
            digests |= {name: digest.hexdigest() for name, digest in self._hashes.items()}
            subject = file_in(self._container, self._artifact, member.path)
            self._look.finish(subject, digests)
        self._hashes = {}


def file_in(container: str, artifact: str, path: bytes) -> ScannedObject:
    """Return a member of an archive as something that is scanned."""
    return ScannedObject(ScannedKind.FILE, container, artifact, os.fsdecode(path))
