"""What came out of verifying a bundle, and what can be wrong with one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from forensics_core.bundle.manifest import Statement
from forensics_core.errors import VerificationError


class SealState(StrEnum):
    """What is known of the bundle's seal."""

    ABSENT = "absent"
    UNCHECKED = "unchecked"
    """No key was given to check it with, and there is one, or it may not be read."""
    VALID = "valid"
    INVALID = "invalid"


_HINT = "Do not rely on what is named; look for another copy"
_MISSING = f"{_HINT}. If only a part was fetched, give the same --select"


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
            only_missing = all(each.kind is ProblemKind.MISSING for each in self.problems)
            raise VerificationError(
                f"{self.location} does not verify: {self.problems[0]}{more}",
                hint=_MISSING if only_missing else _HINT,
            )


class ProblemKind(StrEnum):
    """The ways in which evidence fails to verify."""

    MISMATCH = "Mismatch"
    """The bytes are not those that the manifest, or the seal, speaks of."""
    MISSING = "Missing"
    """The manifest names it, and it is not there."""
    EXTRA = "Extra"
    """It is there, and the manifest does not name it: a problem only where that was asked for."""
    UNREADABLE = "Unreadable"
    """It cannot be read, or not be decompressed."""
    OTHER_EVIDENCE = "OtherEvidence"
    """It is not of the pod, or for the request, that was asked for, whether genuine or not."""
    INCONSISTENT = "Inconsistent"
    """The manifest or the checksums contradict themselves, or each other."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, with one object."""

    kind: ProblemKind
    name: str
    """The object, relative to the bundle. Hostile: escape it where it is shown."""
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {self.message}"
