"""Who waits for a place on which node, as far as the cache does not know: how urgent each is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.api.urgency import Urgency, WaitingCapture

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class WaitingLine:
    """How urgent the pods of those that wait were when they were last looked at.

    It is in memory only: after a restart each is looked at once more before anybody has a turn.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Urgency, datetime]] = {}

    def note(self, uid: str, urgency: Urgency, now: datetime) -> bool:
        """Note how urgent a checkpoint's pod is; return whether that is news."""
        known = self._seen.get(uid)
        self._seen[uid] = urgency, now
        return known is None or known[0] is not urgency

    def forget(self, uid: str) -> None:
        """Forget a checkpoint that waits no more."""
        self._seen.pop(uid, None)

    def waiting(self, checkpoint: PodCheckpoint) -> WaitingCapture:
        """Return one that waits, with what is known of it."""
        metadata = checkpoint.metadata
        urgency, looked_at = self._seen.get(metadata.uid or "", (None, None))
        since = metadata.creation_timestamp or _LONG_AGO
        return WaitingCapture(metadata.uid or "", since, urgency, looked_at)

    def line(self, checkpoints: Iterable[PodCheckpoint]) -> tuple[WaitingCapture, ...]:
        """Return several that wait."""
        return tuple(self.waiting(one) for one in checkpoints)
