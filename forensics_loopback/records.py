"""What was asked of the cluster: every request by name, and counts for benchmarks."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from forensics_loopback.requests import RequestInfo

READS = frozenset({"get", "list"})
WATCHES = frozenset({"watch"})


@dataclass(frozen=True, slots=True)
class Recorded:
    """One answered request."""

    info: RequestInfo
    status: int
    """0 where the connection was cut."""
    user: str
    user_agent: str


class Records:
    """The requests since the start, or since `clear`; the last 10,000 one by one."""

    def __init__(self) -> None:
        self.requests: deque[Recorded] = deque(maxlen=10_000)
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, recorded: Recorded) -> None:
        """Note a request. Watches are noted when they begin."""
        self.requests.append(recorded)
        self._counts[recorded.info.verb, recorded.info.resource] += 1

    def clear(self) -> None:
        """Begin anew."""
        self.requests.clear()
        self._counts.clear()

    def counts(self) -> dict[str, int]:
        """How many of each: `{"create jobs": 3, "get pods/log": 1}`."""
        return {f"{verb} {resource}": n for (verb, resource), n in sorted(self._counts.items())}

    @property
    def reads(self) -> int:
        """Gets and lists."""
        return sum(n for (verb, _), n in self._counts.items() if verb in READS)

    @property
    def watches(self) -> int:
        """Watches begun."""
        return sum(n for (verb, _), n in self._counts.items() if verb in WATCHES)

    @property
    def writes(self) -> int:
        """Everything else: creates, updates, patches and deletions."""
        return self._counts.total() - self.reads - self.watches
