"""What Falco and falcosidekick send, read and cut down to what is kept. Pure.

Both send one JSON object: `rule`, `priority`, `output`, `time`, `tags`, `source`, `hostname`, and
`output_fields` with whatever the rule's output names. Everything in it may be an intruder's words::

    alert = read_alert(body)  # raises UnreadableAlert

Source: https://falco.org/docs/concepts/outputs/formatting/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from forensics_core._internal import strict_json
from forensics_core._internal.text import printable
from forensics_core.api.capturerule import AlertPriority
from forensics_core.errors import ForensicsError
from forensics_core.operator.rules.facts import Alert

BODY_LIMIT = 64 * 1024
"""Bytes of an alert; Falco's own have a few thousand."""
DOCUMENT_LIMIT = 16 * 1024
"""Characters of what is kept of one."""
TEXT, VALUE, FIELDS, TAGS = 2048, 512, 48, 32
"""Characters of a text and of a field's value, and how many fields and tags are kept."""
NOTHING = frozenset({"", "<NA>"})
"""What Falco writes for a field that the event does not have."""
_WORDS = {str(priority).lower(): priority for priority in AlertPriority} | {
    # Falcosidekick's older releases abbreviate it, as syslog does.
    "info": AlertPriority.INFORMATIONAL
}


class UnreadableAlert(ForensicsError):
    """The body is no alert of Falco's."""


@dataclass(frozen=True, slots=True)
class ReceivedAlert:
    """An alert with when it was raised, by the clock of its node."""

    alert: Alert
    at: datetime | None

    @property
    def of_a_pod(self) -> bool:
        """Whether it names one; those of the host do not."""
        return bool(self.alert.namespace and self.alert.pod)


def read_alert(body: bytes) -> ReceivedAlert:
    """Return the alert in a request's body. Raises `UnreadableAlert`."""
    try:
        said = strict_json.loads(body, limit=BODY_LIMIT)
    except ValueError as error:
        raise _unreadable(str(error)) from error
    if not isinstance(said, dict) or not isinstance(said.get("rule"), str) or not said["rule"]:
        raise _unreadable("it names no rule")
    priority = _WORDS.get(str(said.get("priority", "")).lower())
    if priority is None:
        raise _unreadable(f"it has no priority of Falco's: {str(said.get('priority'))[:40]!r}")
    given = said.get("output_fields")
    fields: Mapping[str, Any] = given if isinstance(given, dict) else {}
    tags = said.get("tags")
    alert = Alert(
        rule=_text(said["rule"], 256),
        priority=priority,
        # As they are: they are compared with what the cluster has, never shown before that.
        namespace=_field(fields, "k8s.ns.name"),
        pod=_field(fields, "k8s.pod.name"),
        tags=tuple(_text(tag, 128) for tag in (tags if isinstance(tags, list) else [])[:TAGS]),
        container_id=_field(fields, "container.id"),
        container=_field(fields, "container.name"),
    )
    return _kept(alert, said, fields)


def _kept(alert: Alert, said: Mapping[str, Any], fields: Mapping[str, Any]) -> ReceivedAlert:
    """Return the alert with what goes into the bundle, and by what it is known again."""
    at = _time(said.get("time"))
    document = {
        "rule": alert.rule,
        "priority": str(alert.priority),
        "time": at.isoformat() if at else "",
        "output": _text(said.get("output"), TEXT),
        "source": _text(said.get("source"), VALUE),
        "hostname": _text(said.get("hostname"), VALUE),
        "tags": list(alert.tags),
        "namespace": _text(alert.namespace, VALUE),
        "pod": _text(alert.pod, VALUE),
        "containerID": _text(alert.container_id, VALUE),
        "fields": {
            _text(name, 128): _text(value, VALUE)
            for name, value in sorted(fields.items())[:FIELDS]
            if value is not None
        },
        "cut": len(fields) > FIELDS,
    }
    text = _within(document)
    same = [alert.namespace, alert.pod, alert.container_id, alert.rule, said.get("output")]
    digest = hashlib.sha256(json.dumps([str(said.get("time")), *same]).encode()).hexdigest()
    return ReceivedAlert(replace(alert, document=text, digest=digest[:32]), at)


def _within(document: dict[str, Any]) -> str:
    """Return it as JSON that fits: fields go first, then tags, then the output; it says so."""
    while len(text := json.dumps(document, sort_keys=True)) > DOCUMENT_LIMIT:
        document["cut"] = True
        for name in ("fields", "tags", "output"):
            if kept := document[name]:
                document[name] = _half(kept)
                break
    return text


def _half(kept: Any) -> Any:
    """Return the first half of a mapping, a list or a text."""
    half = len(kept) // 2
    return dict(list(kept.items())[:half]) if isinstance(kept, dict) else kept[:half]


def _text(value: object, limit: int) -> str:
    if value is None:
        return ""
    return printable(value if isinstance(value, str) else json.dumps(value), limit)


def _field(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return "" if not isinstance(value, str) or value in NOTHING else value[:256]


def _time(text: object) -> datetime | None:
    """Return when it was raised; nanoseconds are more than Python keeps."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _unreadable(why: str) -> UnreadableAlert:
    return UnreadableAlert(
        f"This is no alert of Falco's: {why}",
        hint="Have Falco write JSON: json_output: true, or send it by falcosidekick's webhook",
    )
