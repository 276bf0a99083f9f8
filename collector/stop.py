"""The wish that a capture ends early, with what it has by then.

::

    stop = Stop()
    with stop.scope(deadline) as scope:
        ...  # read
    if scope.cancelled_caught:
        print(stop.reason)  # Deadline or Interrupted
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Stop:
    """Made once for a capture; `request` may come at any time, and holds for good."""

    def __init__(self) -> None:
        self.requested = False
        self._scopes: dict[anyio.CancelScope, float] = {}

    @property
    def reason(self) -> str:
        """Why reading ends before its end, in the manifest's word.

        Who is told to end does not learn why: somebody cancelled, or the node is being drained.
        """
        return "Interrupted" if self.requested else "Deadline"

    def request(self) -> None:
        """End what is under way and whatever begins later. Called in the event loop."""
        self.requested = True
        for scope, grace in self._scopes.items():
            _hasten(scope, grace)

    @contextmanager
    def scope(self, deadline: float, grace: float = 0) -> Iterator[anyio.CancelScope]:
        """Cancel the block `grace` seconds after the deadline, or after the request if earlier.

        `deadline` is by the event loop's clock.
        """
        with anyio.CancelScope(deadline=deadline + grace) as scope:
            if self.requested:
                _hasten(scope, grace)
            self._scopes[scope] = grace
            try:
                yield scope
            finally:
                del self._scopes[scope]


def _hasten(scope: anyio.CancelScope, grace: float) -> None:
    scope.deadline = min(scope.deadline, anyio.current_time() + grace)
