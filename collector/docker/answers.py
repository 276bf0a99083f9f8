"""What the Docker Engine answers about containers, in our terms."""

from __future__ import annotations

import json
from typing import Any

from collector.docker import logfiles
from collector.runtimes.runtime import ContainerInfo, Listed, LogStream

_NAME = "io.kubernetes.container.name"


def _pod(labels: dict[str, str]) -> str:
    """Return the pod's name where a kubelet made the container."""
    parts = (labels.get(f"io.kubernetes.pod.{part}") for part in ("namespace", "name"))
    return "/".join(part for part in parts if part)


def listed(row: dict[str, Any]) -> Listed:
    """Return a container from a row of the engine's list."""
    labels = row.get("Labels") or {}
    names = [name.removeprefix("/") for name in row.get("Names") or ()]
    name = labels.get(_NAME) or next(iter(names), row["Id"][:12])
    return Listed(f"docker://{row['Id']}", _pod(labels), name, row["Image"], row["State"])


def described(document: bytes) -> ContainerInfo:
    """Return a container from what the engine says of it."""
    said: dict[str, Any] = json.loads(document)
    config, state = said["Config"], said["State"]
    streams: tuple[LogStream, ...] = (LogStream.STDOUT, LogStream.STDERR)
    if config.get("Tty", False):
        streams = (LogStream.CONSOLE,)
    if logfiles.driver(document) == "none":
        streams = ()
    return ContainerInfo(
        container_id=f"docker://{said['Id']}",
        name=said["Name"].removeprefix("/"),
        image=config.get("Image", ""),
        image_id=said.get("Image", ""),
        state=state["Status"],
        pid=state.get("Pid") or None,
        log_streams=streams,
        document=document,
    )
