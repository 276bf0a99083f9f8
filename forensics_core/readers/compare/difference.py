"""A difference, and all differences of two containers, ranked.

A difference says what is otherwise, never what it means. What a rule of the report sees in it ranks
it, and names the technique of MITRE ATT&CK.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from forensics_core.readers.findings.finding import Rule

MAX_KEPT = 5_000
"""Differences of one area, kind and rule that are kept; all are counted."""
_UNRANKED = 9
"""Behind every severity."""


class Area(StrEnum):
    """What was compared, in the order in which it is shown."""

    PROCESS = "process"
    SOCKET = "listening socket"
    CONNECTION = "connection"
    FILE = "file"
    PACKAGE = "package"
    ENVIRONMENT = "environment variable"
    MOUNT = "mount"


class DifferenceKind(StrEnum):
    """How it differs, seen from the suspect."""

    ONLY = "only in the suspect"
    DIFFERENT = "different"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the suspect has alone, has otherwise, or lacks."""

    area: Area
    kind: DifferenceKind
    subject: str
    """A path, a package's name, a command line. Hostile: escape it where it is shown."""
    detail: str = ""
    """What there is to say of it. Hostile, too."""
    rule: Rule | None = None
    """The rule of the report that sees something in it."""

    @property
    def severity(self) -> str:
        """How soon to look: `high`, `medium`, `low`, or empty where no rule sees anything."""
        return self.rule.severity.name.lower() if self.rule else ""

    @property
    def order(self) -> tuple[int, int, int, int, str]:
        """Sorts the differences that want a look first to the front."""
        rank = self.rule.severity if self.rule else _UNRANKED
        which = [*Rule].index(self.rule) if self.rule else 0
        return (
            rank,
            which,
            [*DifferenceKind].index(self.kind),
            [*Area].index(self.area),
            self.subject,
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as `-o json` shows it."""
        row = {
            "area": self.area,
            "kind": self.kind.name.lower(),
            "subject": self.subject,
            "detail": self.detail,
        }
        ranked = (
            {"severity": self.severity, "rule": self.rule, "attack": self.rule.attack}
            if self.rule
            else {}
        )
        return row | ranked


@dataclass(slots=True)
class Differences:
    """All of two containers."""

    suspect: str
    """The container's name."""
    healthy: str
    """The name of what it is compared with."""
    found: list[Difference] = field(default_factory=list)
    totals: Counter[tuple[Area, DifferenceKind]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    """What was not compared, or not as well as it could be, each with its reason."""
    _kept: Counter[tuple[Area, DifferenceKind, Rule | None]] = field(default_factory=Counter)

    def add(self, difference: Difference) -> None:
        """Keep a difference, if there are not too many of its kind."""
        self.totals[difference.area, difference.kind] += 1
        sort = difference.area, difference.kind, difference.rule
        self._kept[sort] += 1
        if self._kept[sort] <= MAX_KEPT:
            self.found.append(difference)

    def ranked(self) -> list[Difference]:
        """Return those to look at first in front."""
        return sorted(self.found, key=lambda difference: difference.order)

    def as_json(self) -> dict[str, Any]:
        """Return them as `-o json` shows them."""
        totals: dict[str, dict[str, int]] = {}
        for (area, kind), number in sorted(self.totals.items()):
            totals.setdefault(area, {})[kind.name.lower()] = number
        return {
            "suspect": self.suspect,
            "healthy": self.healthy,
            "totals": totals,
            "differences": [difference.as_json() for difference in self.ranked()],
            "notes": self.notes,
        }
