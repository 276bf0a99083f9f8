"""Server-side printing: objects as the `Table` that `kubectl get` asks for.

The cells of custom resources are found by JSONPath: `.status.phase`, `[?(@.type=="Ready")]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from forensics_loopback.kinds.objects import Obj, lookup, metadata, name_of, parse_time
from forensics_loopback.kinds.resources import ServedResource

_NAME_HELP = (
    "Name must be unique within a namespace. Is required when creating resources, although some "
    "resources may allow a client to request the generation of an appropriate name automatically. "
    "Name is primarily intended for creation idempotence and configuration definition. Cannot be "
    "updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)

_STEP = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\\])+)"""
    r"""|\[(?P<index>-?\d+)\]"""
    r"""|\[(?P<all>\*)\]"""
    r"""|\[['"](?P<quoted>[^'"]+)['"]\]"""
    r"""|\[\?\(@\.(?P<key>[\w.]+)\s*==\s*(?P<value>'[^']*'|"[^"]*"|[\w.]+)\)\]"""
)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cell: Callable[[Obj], Any]
    kind: str = "string"
    description: str = ""
    priority: int = 0

    def definition(self) -> Obj:
        form = "name" if self.name == "Name" else ""
        return {
            "name": self.name,
            "type": self.kind,
            "format": form,
            "description": self.description,
            "priority": self.priority,
        }


def table(resource: ServedResource, objects: Iterable[Obj], meta: Obj, *, include: str = "") -> Obj:
    """A Table of the objects; `include` is the query's `includeObject`."""
    columns = _columns(resource)
    rows = []
    for obj in objects:
        row: Obj = {"cells": [column.cell(obj) for column in columns]}
        shown = obj if include == "Object" else partial_metadata(obj)
        rows.append(row if include == "None" else {**row, "object": shown})
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [column.definition() for column in columns],
        "rows": rows,
    }


def partial_metadata(obj: Obj) -> Obj:
    """The object's metadata alone."""
    kind = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return {**kind, "metadata": metadata(obj)}


def _columns(resource: ServedResource) -> list[_Column]:
    name = _Column("Name", name_of, description=_NAME_HELP)
    if not resource.custom:
        return [name, *_BUILTIN.get(resource.plural, ()), _AGE]
    columns = [_custom(column) for column in resource.columns]
    return [name, *(columns or [_AGE])]


def _custom(column: Obj) -> _Column:
    path, kind = column["jsonPath"], column["type"]
    described = f"Custom resource definition column (in JSONPath format): {path}"

    def cell(obj: Obj) -> Any:
        value = find(obj, path)
        return age(value) if kind == "date" and value else _scalar(value)

    description = column.get("description") or described
    return _Column(column["name"], cell, kind, description, column.get("priority", 0))


def _scalar(value: Any) -> Any:
    return str(value) if isinstance(value, dict | list) else value


def age(timestamp: Any, end: datetime | None = None) -> str:
    """How long ago, as kubectl abbreviates it: `42s`, `5m3s`, `2d4h`."""
    if not timestamp:
        return "<unknown>"
    seconds = int(((end or datetime.now(UTC)) - parse_time(str(timestamp))).total_seconds())
    return human_duration(max(0, seconds))


def human_duration(seconds: int) -> str:
    """Seconds in at most two units, fewer the longer it is."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"


def _path(name: str, path: str, *, priority: int = 0) -> _Column:
    return _Column(name, lambda obj: _scalar(lookup(obj, path, "")), priority=priority)


def _ready(pod: Obj) -> str:
    statuses = lookup(pod, "status.containerStatuses") or []
    ready = sum(1 for status in statuses if status.get("ready"))
    return f"{ready}/{len(pod['spec']['containers'])}"


def _pod_status(pod: Obj) -> str:
    if "deletionTimestamp" in metadata(pod):
        return "Terminating"
    for status in lookup(pod, "status.containerStatuses") or []:
        for state in (status.get("state") or {}).values():
            if state.get("reason"):
                return str(state["reason"])
    return str(lookup(pod, "status.reason") or lookup(pod, "status.phase", ""))


def _restarts(pod: Obj) -> int:
    return sum(s.get("restartCount", 0) for s in lookup(pod, "status.containerStatuses") or [])


def _job_status(job: Obj) -> str:
    for item in lookup(job, "status.conditions") or []:
        if item["type"] in {"Complete", "Failed"}:
            return str(item["type"])
    return "Running"


def _job_duration(job: Obj) -> str:
    start, end = lookup(job, "status.startTime"), lookup(job, "status.completionTime")
    return age(start, parse_time(end) if end else None) if start else ""


def _node_status(node: Obj) -> str:
    ready = [c for c in lookup(node, "status.conditions") or [] if c["type"] == "Ready"]
    return "Ready" if ready and ready[0]["status"] == "True" else "NotReady"


def _event_object(event: Obj) -> str:
    regarding = event.get("involvedObject") or event.get("regarding") or {}
    return f"{str(regarding.get('kind', '')).lower()}/{regarding.get('name', '')}"


def _last_seen(event: Obj) -> str:
    return age(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp"))


_AGE = _Column("Age", lambda obj: age(metadata(obj).get("creationTimestamp")), "date")
_BUILTIN: dict[str, tuple[_Column, ...]] = {
    "pods": (
        _Column("Ready", _ready),
        _Column("Status", _pod_status),
        _Column("Restarts", _restarts, "integer"),
        _path("IP", "status.podIP", priority=1),
        _path("Node", "spec.nodeName", priority=1),
    ),
    "jobs": (
        _Column("Status", _job_status),
        _Column("Completions", lambda job: f"{lookup(job, 'status.succeeded', 0)}/1"),
        _Column("Duration", _job_duration),
    ),
    "nodes": (_Column("Status", _node_status), _path("Version", "status.nodeInfo.kubeletVersion")),
    "namespaces": (_path("Status", "status.phase"),),
    "secrets": (
        _path("Type", "type"),
        _Column("Data", lambda secret: len(secret.get("data") or {}), "integer"),
    ),
    "leases": (_path("Holder", "spec.holderIdentity"),),
    "events": (
        _Column("Last Seen", _last_seen),
        _path("Type", "type"),
        _path("Reason", "reason"),
        _Column("Object", _event_object),
        _Column("Message", lambda event: event.get("message") or event.get("note") or ""),
    ),
}


def find(obj: Any, path: str) -> Any:
    """The first value at the path, or None."""
    nodes = [obj]
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            return None
        nodes = [found for node in nodes for found in _step(node, match)]
        position = match.end()
    return nodes[0] if nodes else None


def _step(node: Any, match: re.Match[str]) -> list[Any]:
    name = match["quoted"] or (match["field"] or "").replace("\\", "")
    if name:
        return [node[name]] if isinstance(node, dict) and name in node else []
    if not isinstance(node, list):
        return []
    if match["all"]:
        return node
    if match["index"]:
        index = int(match["index"])
        return [node[index]] if -len(node) <= index < len(node) else []
    return [item for item in node if find(item, "." + match["key"]) == _literal(match["value"])]


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return text
