"""Some of many names, for people."""

from __future__ import annotations

from dataclasses import dataclass, field

from forensics_core.bundle.writer import shortened

MAX_NAMES = 50
"""Names kept of one sort; the rest are only counted."""


@dataclass(slots=True)
class Names:
    """Some of many names, and how many there are."""

    first: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, name: str) -> None:
        """Count `name`, and keep it, or its beginning, while there is room."""
        self.total += 1
        if len(self.first) < MAX_NAMES:
            self.first.append(shortened(name))

    def __str__(self) -> str:
        more = self.total - len(self.first)
        return ", ".join(self.first) + (f" and {more} more" if more else "")
