"""Alerts as Falco and falcosidekick send them."""

from __future__ import annotations

import json
from typing import Any

Document = dict[str, Any]


def falco(pod: str = "web-0", namespace: str = "default", **more: Any) -> Document:
    """Return what Falco writes with `json_output: true` and its Kubernetes fields."""
    fields = {
        "container.id": "4f2a6d5c1b0e",
        "container.image.repository": "registry.example/app",
        "container.name": "app",
        "evt.time": 1740609587261363951,
        "k8s.ns.name": namespace,
        "k8s.pod.name": pod,
        "proc.cmdline": "sh -c id",
        "proc.tty": 34816,
        "user.loginuid": -1,
        "user.name": "<NA>",
        "fd.name": None,
    }
    said = {
        "hostname": "node1",
        "output": "22:39:47.261363951: Notice A shell was spawned in a container",
        "output_fields": fields | more.pop("fields", {}),
        "priority": "Notice",
        "rule": "Terminal shell in container",
        "source": "syscall",
        "tags": ["T1059", "container", "mitre_execution", "shell"],
        "time": "2025-02-26T22:39:47.261363951Z",
    }
    return said | more


def falcosidekick(pod: str = "web-0", namespace: str = "default", **more: Any) -> Document:
    """Return what falcosidekick makes of it, with an id and its own custom fields."""
    own = {"uuid": "7ed43a8e-2b3c-4e9a-9f62-4b4a1f1f2b9b", "fields": {"cluster": "prod"}}
    return falco(pod, namespace, **(own | more))


def body(message: Any) -> bytes:
    """Return a request's body."""
    return json.dumps(message).encode()
