"""How PodCheckpoints are shown: one in full, many as rows, or as JSON and YAML."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from forensics_core.cli.render import clean, prose, say, say_json, size, table

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint

_COLUMNS = ("NAME", "NAMESPACE", "POD", "PHASE", "PROGRESS", "SIZE", "AGE")
_AGES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def say_checkpoint(checkpoint: PodCheckpoint, output: str) -> None:
    """Print one, as `text`, `json` or `yaml`."""
    if output == "text":
        say("\n".join(described(checkpoint)))
    else:
        say_data(checkpoint.to_dict(), output)


def say_data(data: Any, output: str) -> None:
    """Print plain data as `json` or `yaml`."""
    if output == "json":
        say_json(data)
    else:
        import yaml

        # ASCII only, as with JSON: safe on any terminal.
        say(yaml.safe_dump(data, sort_keys=False).rstrip("\n"))


def rows(checkpoints: Sequence[PodCheckpoint], now: datetime | None = None) -> str:
    """Return a table with a row each; `now` is what ages are counted to."""
    moment = now or datetime.now(UTC)
    return table(_COLUMNS, [_row(one, moment) for one in checkpoints], right="SIZE")


def _row(checkpoint: PodCheckpoint, now: datetime) -> tuple[str, ...]:
    metadata, status = checkpoint.metadata, checkpoint.status
    return (
        metadata.name,
        checkpoint.target_namespace,
        checkpoint.spec.pod,
        status.phase or "",
        status.progress.summary if status.progress else "",
        status.size,
        age(metadata.creation_timestamp, now),
    )


def age(since: datetime | None, now: datetime) -> str:
    """Return how long ago that was, in its largest unit: `5m`."""
    if since is None:
        return ""
    seconds = max(0, int((now - since).total_seconds()))
    unit, letter = next((each for each in _AGES if seconds >= each[0]), _AGES[-1])
    return f"{seconds // unit}{letter}"


def described(checkpoint: PodCheckpoint) -> list[str]:
    """Return everything that matters about one checkpoint, a line each."""
    spec, status = checkpoint.spec, checkpoint.status
    progress = status.progress
    facts = {
        "Name": clean(checkpoint.metadata.name),
        "Pod": clean(f"{checkpoint.target_namespace}/{spec.pod}"),
        "Node": clean(status.node),
        "Incident": clean(spec.incident),
        "Reason": prose(spec.reason),
        "Phase": status.phase or "not begun",
        "Progress": prose(progress.summary) if progress else "",
        "Attempt": str(status.attempt or ""),
        "Started": _moment(status.start_time),
        "Ended": _moment(status.completion_time),
        **result(checkpoint),
    }
    lines = [f"{name + ':':<10} {value}" for name, value in facts.items() if value]
    return lines + _containers(checkpoint) + _conditions(checkpoint)


def result(checkpoint: PodCheckpoint) -> dict[str, str]:
    """Return what became of it: where the evidence is, whether it is sealed, its digest."""
    status = checkpoint.status
    if checkpoint.failed:
        # Not called evidence: nothing vouches for what an attempt left there.
        left = f"{clean(status.location)} (no evidence)" if status.location else ""
        return {"Left at": left} if left else {}
    if not status.manifest_sha256:
        return {}
    return {
        "Evidence": f"{status.artifacts} artifacts, {size(status.bytes)}",
        "Location": clean(status.location),
        "Sealed": "yes" if status.sealed else "no",
        "Manifest": f"sha256:{status.manifest_sha256}",
    }


def _moment(when: datetime | None) -> str:
    return when.isoformat().replace("+00:00", "Z") if when else ""


def _containers(checkpoint: PodCheckpoint) -> list[str]:
    found = [(one.name, one.state, one.reason) for one in checkpoint.status.containers]
    return ["", table(("CONTAINER", "STATE", "REASON"), found)] if found else []


def _conditions(checkpoint: PodCheckpoint) -> list[str]:
    found = [
        (one.type, one.status, one.reason, one.message) for one in checkpoint.status.conditions
    ]
    headings = ("CONDITION", "STATUS", "REASON", "MESSAGE")
    return ["", table(headings, found)] if found else []
