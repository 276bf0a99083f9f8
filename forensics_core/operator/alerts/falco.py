"""What Falco and falcosidekick send, read and cut down to what is kept. Pure.

Both send one JSON object: `rule`, `priority`, `output`, `time`, `tags`, `source`, `hostname`, and
`output_fields` with whatever the rule's output names. Everything in it may be an intruder's words::

    alert = read_alert(body)  # raises UnreadableAlert

Source: https://falco.org/docs/concepts/outputs/formatting/
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from forensics_core._internal.text import printable
from forensics_core.api.capturerule import AlertPriority
from forensics_core.errors import ForensicsError
from forensics_core.operator.rules.facts import Alert

BODY_LIMIT = 256 * 1024
"""Bytes of an alert. Falco's have a few thousand; those with the commands of all ancestors, each of
4,096 bytes that an intruder chose and JSON spells by six characters each, have many more."""
DOCUMENT_LIMIT = 16 * 1024
"""Characters of what is kept of one."""
TEXT, VALUE, FIELDS, TAGS = 2048, 512, 48, 32
"""Characters of a text and of a field's value, and how many fields and tags are kept."""
NOTHING = frozenset({"", "<NA>"})
"""What Falco writes for a field that the event does not have."""
_CONTAINER = re.compile(r"[0-9a-f]{12,64}")
"""The ID of a container. Falco says `host` where there is none."""
_POD_FIELDS = (
    ("k8s.ns.name", "k8s.pod.name", "k8s.pod.uid"),
    ("k8smeta.ns.name", "k8smeta.pod.name", "k8smeta.pod.uid"),
)
"""Falco's own fields, and those of its plugin k8smeta."""
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
        """Whether it names one, or at least a container; those of the host do not."""
        return bool(self.alert.pod or _CONTAINER.fullmatch(self.alert.container_id))


def read_alert(body: bytes) -> ReceivedAlert:
    """Return the alert in a request's body. Raises `UnreadableAlert`."""
    try:
        return _read(_parsed(body))
    except RecursionError as error:
        raise _unreadable("it is nested too deep") from error


def _read(said: Any) -> ReceivedAlert:
    if not isinstance(said, dict) or not isinstance(said.get("rule"), str) or not said["rule"]:
        raise _unreadable("it names no rule")
    priority = _WORDS.get(str(said.get("priority", "")).lower())
    if priority is None:
        raise _unreadable(f"it has no priority of Falco's: {str(said.get('priority'))[:40]!r}")
    given = said.get("output_fields")
    fields: Mapping[str, Any] = given if isinstance(given, dict) else {}
    tags, (namespace, pod, uid) = said.get("tags"), _pod(fields)
    alert = Alert(
        rule=_text(said["rule"], 256),
        priority=priority,
        # As they are: they are compared with what the cluster has, never shown before that.
        namespace=namespace,
        pod=pod,
        pod_uid=uid,
        tags=tuple(_text(tag, 128) for tag in (tags if isinstance(tags, list) else [])[:TAGS]),
        container_id=_field(fields, "container.id"),
        container=_field(fields, "container.name"),
    )
    return _kept(alert, said, fields)


def _parsed(body: bytes) -> Any:
    """Return the JSON of a body, read as leniently as can be.

    What an intruder types is in it: bytes that are no text, or control characters that a sender has
    not escaped, must not keep the alert of it away.
    """
    if len(body) > BODY_LIMIT:
        raise _unreadable(f"it has {len(body)} bytes, more than {BODY_LIMIT}")
    text = body.decode(errors="surrogateescape").removeprefix("\ufeff")
    # Numbers are shown and never calculated with: so none is too large.
    numbers: dict[str, Any] = dict.fromkeys(("parse_int", "parse_float", "parse_constant"), str)
    try:
        return json.loads(text, strict=False, object_pairs_hook=_unambiguous, **numbers)
    except ValueError as error:
        raise _unreadable(str(error)) from error


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is repeated")
    return found


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


def _pod(fields: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return namespace, name and UID of the pod; all empty if it is not named whole."""
    for names in _POD_FIELDS:
        namespace, pod, uid = (_field(fields, name) for name in names)
        if namespace and pod:
            return namespace, pod, uid
    return "", "", ""


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
