"""The alert that a rule captures a pod for, as it goes into the context.

It comes by an annotation of the PodCheckpoint, which admission keeps for those who act for others;
what it says is Falco's word, and in it an intruder's.
"""

from __future__ import annotations

from typing import Any

from forensics_core._internal import strict_json
from forensics_core.api.names import ALERT_ANNOTATION
from forensics_core.api.podcheckpoint import PodCheckpoint

LIMIT = 64 * 1024
"""Bytes of an alert; the rules keep far less."""


def alert_of(checkpoint: PodCheckpoint) -> dict[str, Any]:
    """Return `{"alert": ...}` for a file of the context, or nothing if there was no alert."""
    text = checkpoint.metadata.annotations.get(ALERT_ANNOTATION)
    if text is None:
        return {}
    try:
        return {"alert": strict_json.loads(text.encode(errors="replace"), limit=LIMIT)}
    except ValueError as error:
        # Not the rules', then: whoever may act for others may write what he likes there.
        return {"alert": {"unreadable": str(error)}}
