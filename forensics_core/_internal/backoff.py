"""How long to wait before trying again: exponential, jittered, bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import SystemRandom

_random = SystemRandom()


@dataclass(slots=True)
class Backoff:
    """Grows with each failure; the defaults are those of client-go's reflector."""

    initial: float = 0.8
    """Seconds, before jitter."""
    maximum: float = 30.0
    """Seconds, before jitter."""
    least: float | None = None
    """Seconds of the shortest pause; None: half of the step. One far below lets many clients that
    failed at once come back at different times."""
    failures: int = field(default=0, init=False)

    def next(self, at_least: float | None = None) -> float:
        """Count a failure, and return the seconds to wait: `least`, or up to all of the step.

        A pause that the server asked for comes on top.
        """
        step = min(self.initial * 2.0 ** min(self.failures, 32), self.maximum)
        self.failures += 1
        shortest = step / 2 if self.least is None else self.least
        return (at_least or 0.0) + _random.uniform(shortest, step)

    def reset(self) -> None:
        """Forget the failures: something went well."""
        self.failures = 0
