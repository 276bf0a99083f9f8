"""Times in an object's metadata, as seconds since 1970."""

from __future__ import annotations

from datetime import datetime

from forensics_core.kube.objects import Object


def moment(text: object) -> float | None:
    """Return a time of the API as seconds since 1970; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def deletion_asked_at(metadata: Object) -> float | None:
    """Return when the deletion was asked for: the timestamp is when its grace period is over."""
    end = moment(metadata.get("deletionTimestamp"))
    if end is None:
        return None
    grace = metadata.get("deletionGracePeriodSeconds")
    return end - grace if isinstance(grace, int) else end
