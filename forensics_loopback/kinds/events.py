"""Events have two faces, `v1` and `events.k8s.io/v1`, over the same stored objects.

They are stored as core/v1 has them.
"""

from __future__ import annotations

from collections.abc import Iterator

from forensics_loopback.kinds.objects import Obj, namespace_of
from forensics_loopback.kinds.status import Cause

# As events.k8s.io/v1 spells a field, and as core/v1 does.
_SPELLINGS = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_BACK = {core: modern for modern, core in _SPELLINGS.items()}
_MODERN = "events.k8s.io/v1"


def to_core(event: Obj) -> Obj:
    """An event of either version as it is stored."""
    core = {_SPELLINGS.get(key, key): value for key, value in event.items()}
    if core.get("apiVersion") == _MODERN:
        core["apiVersion"] = "v1"
    return core


def to_modern(event: Obj) -> Obj:
    """A stored event as events.k8s.io/v1 shows it."""
    modern = {_BACK.get(key, key): value for key, value in event.items()}
    return {**modern, "apiVersion": _MODERN}


def default_event(event: Obj) -> None:
    """Set, in place, the fields that are always shown."""
    event.setdefault("source", {})
    for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(name, None)
    event.setdefault("reportingComponent", "")
    event.setdefault("reportingInstance", "")


def check_event(event: Obj) -> Iterator[Cause]:
    """What is wrong with an event; more is asked of those that carry an `eventTime`."""
    place = (event.get("involvedObject") or {}).get("namespace", "")
    if place != namespace_of(event) and (place or namespace_of(event) != "default"):
        text = f'Invalid value: "{place}": does not match event.namespace'
        yield Cause("involvedObject.namespace", text)
    modern = not (event.get("firstTimestamp") or event.get("source") or event.get("count"))
    if modern and not event.get("eventTime"):
        yield Cause("eventTime", "Required value", "FieldValueRequired")
    elif event.get("eventTime"):
        yield from _check_modern(event)


def _check_modern(event: Obj) -> Iterator[Cause]:
    required = {
        "reportingController": event.get("reportingComponent"),
        "reportingInstance": event.get("reportingInstance"),
        "action": event.get("action"),
        "reason": event.get("reason"),
    }
    for name, value in required.items():
        if not value:
            yield Cause(name, "Required value", "FieldValueRequired")
        elif len(value) > 128:
            text = "Too long: may not be more than 128 bytes"
            yield Cause(name, text, "FieldValueTooLong")
    if len(event.get("message") or "") > 1024:
        yield Cause("message", "Too long: may not be more than 1024 bytes", "FieldValueTooLong")
