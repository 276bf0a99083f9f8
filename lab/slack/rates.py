"""How often Slack lets itself be called: a bucket of calls for each method, refilled all the time.

Source: https://docs.slack.dev/apis/web-api/rate-limits
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

TIERS = {1: 1, 2: 20, 3: 50, 4: 100}
"""Calls a minute."""
METHODS = {
    "apps.connections.open": 1,
    "usergroups.users.list": 2,
    "chat.update": 3,
    "conversations.info": 3,
    "chat.postEphemeral": 4,
    "views.open": 4,
    "views.update": 4,
    "views.publish": 4,
    "users.info": 4,
}
BURST = 3
"""New messages in one channel at once; beyond, it is one a second."""


@dataclass
class Bucket:
    """Calls that may be made at once, and how fast others take their place."""

    most: float
    per_second: float
    left: float = field(init=False)
    _at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.left = self.most

    def take(self) -> int:
        """Take a call out; returns the seconds to wait where there is none, else 0."""
        now = time.monotonic()
        self.left = min(self.most, self.left + (now - self._at) * self.per_second)
        self._at = now
        if self.left < 1:
            return max(1, math.ceil((1 - self.left) / self.per_second))
        self.left -= 1
        return 0


class Rates:
    """The buckets of one app in one workspace."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}
        self.refused = 0
        """Calls that came too soon."""

    def take(self, method: str, channel: str = "") -> int:
        """Return how many seconds too soon a call comes; 0: it does not."""
        if method == "chat.postMessage":
            made = self._buckets.setdefault(f"{method} {channel}", Bucket(BURST, 1.0))
        elif method in METHODS:
            calls = TIERS[METHODS[method]]
            # Even the lowest tier lets a few calls come together.
            made = self._buckets.setdefault(method, Bucket(max(BURST, calls), calls / 60))
        else:
            return 0
        wait = made.take()
        self.refused += wait > 0
        return wait
