"""What a runtime mounts into a container by its own account: Docker's inspect, or the OCI spec.

It says which mounts are volumes, and it is all that is left of a container that has ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from collector.runtimes.runtime import ContainerInfo

RUNTIME_FILES = frozenset(
    {
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/dev/termination-log",
        "/run/.containerenv",
    }
)
"""Single files that a runtime or a kubelet makes for each container, and mounts at these paths."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # where it is in the container
_DOCKERS_FILES = {
    "HostsPath": "/etc/hosts",
    "HostnamePath": "/etc/hostname",
    "ResolvConfPath": "/etc/resolv.conf",
}


class Declared(NamedTuple):
    """One mount, as the runtime was told to make it."""

    path: str
    """In the container."""
    kind: str
    """`bind`, `volume`, `tmpfs`, or a file system's type."""
    source: str
    """On the runtime's machine, where it is from there."""

    @property
    def is_volume(self) -> bool:
        """Whether it is the machine's, or a user's, and not made for this container alone."""
        if self.path in RUNTIME_FILES:
            return False
        if self.path == SHARED_MEMORY:
            # That of a pod lies beneath the runtime's folder; of a machine, at the same path.
            return self.source == SHARED_MEMORY
        return self.kind not in {"tmpfs", "proc", "sysfs", "cgroup", "devpts", "mqueue"}


def declared(container: ContainerInfo) -> list[Declared]:
    """Return what the runtime mounts, by what it said of the container; each path once."""
    said: Any = json.loads(container.document)
    if not isinstance(said, dict):
        return []
    found = [*_docker(said), *_oci(said)]
    return list({row.path: row for row in found if row.path.startswith("/")}.values())


def _docker(said: dict[str, Any]) -> Iterator[Declared]:
    for name, path in _DOCKERS_FILES.items():
        if said.get(name):
            yield Declared(path, "bind", str(said[name]))
    host = _object(said.get("HostConfig"))
    for path in _object(host.get("Tmpfs")):
        yield Declared(str(path), "tmpfs", "tmpfs")
    if host.get("IpcMode") == "host":
        yield Declared(SHARED_MEMORY, "bind", SHARED_MEMORY)
    for row in _rows(said.get("Mounts")):
        kind, source = str(row.get("Type") or "volume"), str(row.get("Source") or "")
        yield Declared(str(row.get("Destination")), kind, source)


def _oci(said: dict[str, Any]) -> Iterator[Declared]:
    spec = _object(_object(_object(said.get("info")).get("info")).get("runtimeSpec"))
    for row in _rows(spec.get("mounts")):
        kind, source = str(row.get("type") or "bind"), str(row.get("source") or "")
        yield Declared(str(row.get("destination")), kind, source)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
