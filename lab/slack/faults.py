"""What Slack can do wrong, on demand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Fault:
    """What happens to the next calls of a method."""

    method: str
    """`chat.update`, or `response_url`."""
    times: int = 1
    error: str = ""
    """Slack's word, in an answer with `ok: false`."""
    status: int = 200
    retry_after: int = 1
    """Seconds, for 429."""
    skip: int = 0
    """How many calls pass unharmed first."""


class Faults:
    """The faults that wait for their calls."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Let a fault happen."""
        self._waiting.append(fault)
        return fault

    @property
    def waiting(self) -> int:
        """How many have not happened yet."""
        return len(self._waiting)

    def clear(self) -> None:
        """Behave from now on."""
        self._waiting.clear()

    def take(self, method: str) -> Fault | None:
        """Return the fault that a call meets, if any."""
        for fault in self._waiting:
            if fault.method != method:
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self._waiting.remove(fault)
            return fault
        return None
