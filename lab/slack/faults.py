"""What Slack can do wrong, on demand."""

from __future__ import annotations

from dataclasses import dataclass

from forensics_loopback.server.faults import FaultQueue


@dataclass
class SlackFault:
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


class SlackFaults(FaultQueue[SlackFault]):
    """The faults of a workspace."""

    def take(self, method: str) -> SlackFault | None:
        """Return the fault that a call meets, if any."""
        return self.first(lambda fault: fault.method == method)
