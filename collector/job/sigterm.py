"""A SIGTERM that comes before anybody can heed it.

The first process of a container ignores a signal for which it has no handler. Until the work order
is being carried out, the signal is only remembered::

    early = SigtermLatch()
    early.listen()
    ...  # load what takes a while
    if early.heard:
        ...  # end at once
"""

from __future__ import annotations

import signal
from types import FrameType


class SigtermLatch:
    """Remembers one SIGTERM. Whoever sets another handler takes over from it."""

    def __init__(self) -> None:
        self.heard = False

    def listen(self) -> None:
        """Remember the signal from now on, and live on."""
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.heard = True
