"""What a scan tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from forensics_core.readers.scan.known import NOT_KNOWN, HashReputation, HashVerdict
from forensics_core.readers.scan.rules import RuleMatch


class ScannedKind(StrEnum):
    """What sort of thing was scanned."""

    FILE = "file"
    """A member of an archive."""
    MEMORY = "memory"
    LOG = "log"
    ENVIRONMENT = "environment"
    COMMAND = "command line"


@dataclass(frozen=True, slots=True)
class ScannedObject:
    """One thing that was scanned."""

    kind: ScannedKind
    container: str
    artifact: str
    """The object of the bundle that holds it."""
    path: str
    """In the container, or `process 7 sh`; empty where the artifact as a whole is meant. Bytes that
    are no UTF-8 are surrogates."""

    @property
    def shown(self) -> str:
        """What it is called in messages; hostile: escape it where it is shown."""
        return f"{self.artifact}:{self.path}" if self.path else self.artifact


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What is worth a line: a rule that matched, or the standing of a file."""

    subject: ScannedObject
    found: RuleMatch | None
    """None: it is about the file's standing alone."""
    sha256: str = ""
    """Of the file; empty where nobody hashed it."""
    verdict: HashVerdict = NOT_KNOWN

    def as_json(self) -> dict[str, Any]:
        """Return it as `-o json` shows it."""
        subject, found = self.subject, self.found
        row: dict[str, Any] = {
            "type": "file" if found is None else "match",
            "container": subject.container,
            "artifact": subject.artifact,
            "kind": subject.kind,
            "path": subject.path,
        }
        row |= {"sha256": self.sha256} if self.sha256 else {}
        if self.verdict.standing is not HashReputation.UNKNOWN or found is None:
            row["known"] = self.verdict.standing
        row |= {"label": self.verdict.label} if self.verdict.label else {}
        return row | (_found(found) if found else {})


def _found(found: RuleMatch) -> dict[str, Any]:
    namespace, rule = found.name
    hits = [
        {"pattern": hit.pattern, "offset": hit.offset, "length": hit.length, "excerpt": hit.excerpt}
        for hit in found.hits
    ]
    return {
        "rule": rule,
        "namespace": namespace,
        "tags": list(found.tags),
        "hits": hits,
        "hitsTotal": found.total,
    }


@dataclass(slots=True)
class ScanCounts:
    """How much was looked at, and how much was found."""

    scanned: Counter[ScannedKind] = field(default_factory=Counter)
    size: int = 0
    """Bytes, before compression."""
    windowed: int = 0
    """Files that did not fit into one window."""
    matches: int = 0
    standings: Counter[HashReputation] = field(default_factory=Counter)
    """Files by what the lists say of them."""
    timed_out: list[str] = field(default_factory=list)
    """What the rules took too long for, the first of them."""
    timed_out_total: int = 0
    failed: int = 0
    """Artifacts that the engine failed over, and that were not scanned to their end."""

    def as_json(self) -> Mapping[str, Any]:
        """Return them as `-o json` shows them."""
        return {
            "matches": self.matches,
            "scanned": {str(kind): number for kind, number in sorted(self.scanned.items())},
            "bytes": self.size,
            "inWindows": self.windowed,
            "known": {str(kind): number for kind, number in sorted(self.standings.items())},
            "timedOut": self.timed_out,
            "timedOutTotal": self.timed_out_total,
            "failed": self.failed,
        }
