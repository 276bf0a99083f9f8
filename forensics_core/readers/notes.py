"""What a reader has to know beside what it is shown: what could not be read, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from forensics_core.errors import ForensicsError, ObjectNotFound, VerificationError


@dataclass(slots=True)
class Notes:
    """What is missing from an answer, or must not be relied on."""

    missing: list[str] = field(default_factory=list)
    """Sources that could not be read, each with its reason, in the order met."""
    not_genuine: bool = False
    """Whether one of them is not what the manifest says."""

    def add(self, error: ForensicsError) -> None:
        """Note why a source is missing, or must not be relied on."""
        if isinstance(error, VerificationError):
            self.not_genuine = True
            self.missing.append(f"{error.message}: do not rely on what is shown of it")
        elif isinstance(error, ObjectNotFound):
            self.not_genuine = True
            self.missing.append(f"{error.message}, though the manifest names it")
        else:
            self.missing.append(error.message)
