"""What came out of verifying a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from forensics_core.bundle.manifest import Statement
from forensics_core.bundle.problems import Problem
from forensics_core.errors import VerificationError


class SealState(StrEnum):
    """What is known of the bundle's seal."""

    ABSENT = "absent"
    UNCHECKED = "unchecked"
    """No key was given to check it with, and there is one, or it may not be read."""
    VALID = "valid"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Verification:
    """What came out."""

    location: str
    """The bundle's URL."""
    manifest_sha256: str
    """Of the manifest as it was read."""
    statement: Statement | None
    """The manifest; None where it could not be understood."""
    artifacts: int
    """Artifacts and files of the context, those with problems included."""
    size: int
    """Bytes read again, as stored."""
    seal: SealState
    problems: tuple[Problem, ...]
    """All that is wrong, by name."""
    notes: tuple[str, ...]
    """What is worth knowing, and no contradiction: newer versions, an unchecked seal, a copy."""
    extras: tuple[str, ...] = ()
    """The first of the objects that nobody named: no part of the evidence, and no harm to it.
    Hostile: escape them where they are shown."""
    extras_total: int = 0
    """How many there are in all."""

    @property
    def ok(self) -> bool:
        """Whether the evidence is what its manifest says."""
        return not self.problems

    def raise_for_problems(self) -> None:
        """Raise `VerificationError` unless all is well; it names the first problem."""
        if self.problems:
            more = f", and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
            raise VerificationError(
                f"{self.location} does not verify: {self.problems[0]}{more}",
                hint="Do not rely on what is named; look for another copy",
            )
