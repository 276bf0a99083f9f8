"""What the Docker Engine answers about containers in our terms, refusals included."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator, Set
from contextlib import suppress
from typing import Any

import aiohttp

from collector.docker.logs import nanoseconds
from collector.docker.storage import log_driver
from collector.runtimes.runtime import (
    ContainerInfo,
    ListedContainer,
    LogStream,
    RuntimeEvents,
    Unavailable,
    shortened_words,
)
from forensics_core.errors import ContainerGone, RuntimeUnavailable, SourceError, UsageError

MAX_EVENTS = 256
"""Events that an engine remembers."""
_NAME = "io.kubernetes.container.name"


def _pod(labels: dict[str, str]) -> str:
    """Return the pod's name where a kubelet made the container."""
    parts = (labels.get(f"io.kubernetes.pod.{part}") for part in ("namespace", "name"))
    return "/".join(part for part in parts if part)


def listed(row: dict[str, Any]) -> ListedContainer:
    """Return a container from a row of the engine's list."""
    labels = row.get("Labels") or {}
    names = [name.removeprefix("/") for name in row.get("Names") or ()]
    name = labels.get(_NAME) or next(iter(names), row["Id"][:12])
    return ListedContainer(f"docker://{row['Id']}", _pod(labels), name, row["Image"], row["State"])


def described(document: bytes) -> ContainerInfo:
    """Return a container from what the engine says of it."""
    said: dict[str, Any] = json.loads(document)
    config, state = said["Config"], said["State"]
    streams: tuple[LogStream, ...] = (LogStream.STDOUT, LogStream.STDERR)
    if config.get("Tty", False):
        streams = (LogStream.CONSOLE,)
    if log_driver(document) == "none":
        streams = ()
    return ContainerInfo(
        container_id=f"docker://{said['Id']}",
        name=said["Name"].removeprefix("/"),
        image=config.get("Image", ""),
        image_id=said.get("Image", ""),
        state=state["Status"],
        # 0 of a container that does not run.
        pid=state.get("Pid") or None,
        log_streams=streams,
        document=document,
        made=_seconds(said.get("Created")),
    )


def _seconds(text: object) -> float:
    with suppress(ValueError, TypeError):
        return nanoseconds(str(text)) / 1e9
    return 0.0


def events_of(told: bytes, keys: Set[str]) -> RuntimeEvents:
    """Return the events that are about the containers with these IDs."""
    lines = [line for line in told.splitlines() if line.strip()]
    ours = [line for line in lines if _container_of(line) in keys]
    return RuntimeEvents(b"\n".join(ours), cut=len(lines) >= MAX_EVENTS)


def _container_of(line: bytes) -> str:
    said: dict[str, Any] = json.loads(line)
    return str(said["Actor"]["ID"]) if said["Type"] == "container" else ""


def exec_session(document: bytes) -> dict[str, Any]:
    """Return an exec session from what the engine says of it; of a long command the beginning."""
    said: dict[str, Any] = json.loads(document)
    process = said.get("ProcessConfig") or {}
    words = [process.get("entrypoint"), *(process.get("arguments") or ())]
    command, whole = shortened_words([word for word in words if word])
    if not whole:
        said = said | {"ProcessConfig": None, "commandTruncated": True}
    return {
        "id": said["ID"],
        "pid": said.get("Pid") or None,
        "running": bool(said.get("Running")),
        "terminal": bool(process.get("tty")),
        "command": command,
        "user": process.get("user") or None,
        "said": said,
    }


def refusal(status: int, body: bytes) -> Exception:
    """Return the error that an answer of the status 400 or more means."""
    try:
        said = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        said = body.decode(errors="replace").strip() or f"status {status}"
    # A container that is being removed is a conflict, 409, which only its words tell from others.
    if status == 404 or "dead or marked for removal" in said:
        return ContainerGone(
            f"The Docker Engine says: {said}", hint="It was removed; what was read of it is kept"
        )
    if status == 501 or "does not support reading" in said:
        return Unavailable(f"The Docker Engine says: {said}", reason="NotSupported")
    if "multiple ids" in said.lower():
        return UsageError(f"The Docker Engine says: {said}", hint="Give more of the ID, or a name")
    return SourceError(
        f"The Docker Engine answered {status}: {said}", hint="See its log, then capture again"
    )


def unreachable(error: Exception, host: str) -> RuntimeUnavailable:
    """Return why the engine at `host` cannot be talked to."""
    code = getattr(error, "errno", None)
    if code == errno.EACCES:
        return RuntimeUnavailable(
            f"This user may not talk to the Docker Engine at {host}",
            hint="Run it as root, or as a member of the group 'docker'",
        )
    if code == errno.ENOENT or code == errno.ECONNREFUSED:
        return RuntimeUnavailable(
            f"No Docker Engine runs at {host}",
            hint="Start it, or set DOCKER_HOST to where it listens",
        )
    return RuntimeUnavailable(
        f"The Docker Engine at {host} does not answer: {str(error) or type(error).__name__}",
        hint="See whether it runs, and whether DOCKER_HOST is right",
    )


async def streamed(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the body of an answer. Raises `SourceError` where the engine breaks it off."""
    try:
        async for block in answer.content.iter_any():
            yield block
    except (aiohttp.ClientError, OSError) as error:
        raise SourceError(
            f"The Docker Engine broke off its answer: {error}",
            hint="See whether it still runs, then capture again",
        ) from error
