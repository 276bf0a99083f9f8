"""How much came from a store: for readers, who tell it at their end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """What came so far, without headers; one for all clients that are given it."""

    requests: int = 0
    """Those that were answered, refusals included."""
    size: int = 0
    """Bytes of objects and of other answers."""
