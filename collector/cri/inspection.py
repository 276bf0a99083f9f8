"""What a CRI runtime says of a container, as one JSON document, and what we take from it.

Shape of the document: `{"status": {...}, "info": {...}, "sandbox": {...}}`: `status` as the CRI has
it, `info` whatever the runtime adds when asked to be verbose, `sandbox` the pod's.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from collector.cri._proto import containerd_pb2 as containerd
from collector.cri._proto import runtime_pb2 as cri
from collector.documents import document
from collector.files.view import PLACEHOLDERS
from collector.runtimes.runtime import ContainerInfo, refuse_sandboxed

STATES = {
    cri.CONTAINER_CREATED: "created",
    cri.CONTAINER_RUNNING: "running",
    cri.CONTAINER_EXITED: "exited",
}


def describe(
    scheme: str,
    said: cri.ContainerStatusResponse,
    sandbox: cri.PodSandbox | None,
    task: containerd.Process | None = None,
) -> ContainerInfo:
    """Return a container as its runtime described it; `task` is containerd's word on its process.

    The CRI itself does not know that a container is paused.
    """
    status, info = said.status, _decoded(said)
    content = {"status": plain(status), "info": info}
    if sandbox is not None:
        content["sandbox"] = plain(sandbox)
    pid = task.pid if task else verbose(info).get("pid")
    times = status.created_at, sandbox.created_at if sandbox else 0
    paused = task is not None and task.status in {containerd.TASK_PAUSED, containerd.TASK_PAUSING}
    return ContainerInfo(
        container_id=f"{scheme}://{status.id}",
        name=status.metadata.name,
        image=status.image.user_specified_image or status.image.image,
        image_id=status.image_id or status.image_ref,
        state="paused" if paused else STATES.get(status.state, "unknown"),
        pid=pid if isinstance(pid, int) and pid > 0 and _runs(status) else None,
        log_streams=(),
        document=document(content),
        made=min(when for when in times if when) / 1e9 if any(times) else 0.0,
    )


def _runs(status: cri.ContainerStatus) -> bool:
    return status.state == cri.CONTAINER_RUNNING


def plain(message: Message) -> dict[str, Any]:
    """Return a message as JSON has it, with all its fields."""
    return MessageToDict(message, always_print_fields_with_no_presence=True)


def _decoded(said: cri.ContainerStatusResponse | cri.ImageStatusResponse) -> dict[str, Any]:
    """Return the runtime's additions, decoded where they are JSON and as they are where not."""
    decoded: dict[str, Any] = {}
    for name, text in said.info.items():
        try:
            decoded[name] = json.loads(text)
        except (ValueError, RecursionError):
            decoded[name] = text
    return decoded


def verbose(info: dict[str, Any]) -> dict[str, Any]:
    """Return the part that containerd and CRI-O both call `info`; empty if it is no object."""
    part = info.get("info")
    return part if isinstance(part, dict) else {}


def details(container: ContainerInfo) -> dict[str, Any]:
    """Return the same of a container that was described before."""
    return verbose(json.loads(container.document)["info"])


def log_path(container: ContainerInfo) -> str:
    """Return the path of the log that the container writes, or wrote last."""
    return str(json.loads(container.document)["status"]["logPath"])


def image_document(said: cri.ImageStatusResponse) -> bytes:
    """Return what the runtime says of an image, as JSON."""
    return document({"status": plain(said.image), "info": _decoded(said)})


_DETAILS = "runc.v1.ProcessDetails"
"""The type in which runc's shim names the exec session that a process was started by."""


def exec_sessions(said: containerd.ListPidsResponse) -> list[tuple[int, str]]:
    """Return the process and the ID of each exec session whose first process lives."""
    found: list[tuple[int, str]] = []
    for process in said.processes:
        if process.info.type_url.endswith(_DETAILS):
            with suppress(DecodeError):
                told = containerd.ProcessDetails.FromString(process.info.value)
                found += [(process.pid, told.exec_id)] if told.exec_id else []
    return found


def exec_session(pid: int, process: containerd.Process) -> dict[str, Any]:
    """Return an exec session from what containerd says of it; it does not tell the command."""
    return {
        "id": process.id,
        "pid": pid,
        "running": process.status == containerd.TASK_RUNNING,
        "terminal": process.terminal,
        "command": None,
        "user": None,
        "said": plain(process),
    }


def specification(info: dict[str, Any]) -> dict[str, Any]:
    """Return the container's OCI specification; empty if the runtime does not show it."""
    spec = info.get("runtimeSpec")
    return spec if isinstance(spec, dict) else {}


def destinations(spec: dict[str, Any]) -> frozenset[str]:
    """Return the paths that something is mounted on in the container."""
    rows = spec.get("mounts")
    mounts = rows if isinstance(rows, list) else []
    named = {str(row.get("destination")) for row in mounts if isinstance(row, dict)}
    return PLACEHOLDERS | named


def refuse_if_sandboxed(container: ContainerInfo, handler: str) -> None:
    """Raise `UsageError` for a container that runs in a machine or kernel of its own."""
    refuse_sandboxed(container.name, f"{handler} {details(container).get('runtimeType', '')}")
