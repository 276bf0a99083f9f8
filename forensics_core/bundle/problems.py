"""What can be wrong with a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
    """The manifest or the check sums contradict themselves, or each other."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, with one object."""

    kind: ProblemKind
    name: str
    """The object, relative to the bundle. Hostile: escape it where it is shown."""
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {self.message}"
