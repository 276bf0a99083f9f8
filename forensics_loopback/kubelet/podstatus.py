"""A pod's status as the kubelet writes it, stage by stage."""

from __future__ import annotations

import hashlib
from typing import Any

from forensics_loopback.kinds.objects import Obj, lookup, metadata, now, uid_of
from forensics_loopback.kinds.pods import disrupted
from forensics_loopback.kubelet.runner import ContainerExit

_TYPES = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
MESSAGE_LIMIT = 4096
"""Bytes that the kubelet keeps of a termination message."""


def _conditions(pod: Obj, states: dict[str, tuple[str, str]]) -> list[Obj]:
    before = {c["type"]: c for c in lookup(pod, "status.conditions") or ()}
    found = []
    for kind in _TYPES:
        status, reason = states.get(kind, ("True", ""))
        same = before.get(kind, {}).get("status") == status
        item: Obj = {
            "type": kind,
            "observedGeneration": metadata(pod).get("generation", 1),
            "status": status,
            "lastProbeTime": None,
            "lastTransitionTime": before[kind]["lastTransitionTime"] if same else now(),
        }
        found.append({**item, "reason": reason} if reason else item)
    return found


def _containers(pod: Obj, state: Obj, *, ready: bool) -> list[Obj]:
    return [_container(pod, c, state, ready=ready) for c in pod["spec"]["containers"]]


def _container(pod: Obj, container: Obj, state: Obj, *, ready: bool) -> Obj:
    digest = hashlib.sha256(f"{uid_of(pod)}/{container['name']}".encode()).hexdigest()
    image = str(container.get("image", ""))
    started = "waiting" not in state
    found: Obj = {
        "name": container["name"],
        "state": state,
        "lastState": {},
        "ready": ready,
        "restartCount": 0,
        "image": image,
        "imageID": "sha256:" + hashlib.sha256(image.encode()).hexdigest() if started else "",
        "started": ready,
        "resources": {},
    }
    if started:
        found["containerID"] = f"containerd://{digest}"
        found["user"] = {"linux": {"uid": 0, "gid": 0, "supplementalGroups": [0]}}
        if "terminated" in state:
            state["terminated"]["containerID"] = found["containerID"]
    return found


def _status(pod: Obj, phase: str, states: dict[str, tuple[str, str]], **more: Any) -> None:
    address = "127.0.0.1"
    pod["status"] = {
        "observedGeneration": metadata(pod).get("generation", 1),
        "phase": phase,
        "conditions": _conditions(pod, states),
        "hostIP": address,
        "hostIPs": [{"ip": address}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": lookup(pod, "status.startTime") or now(),
        "qosClass": lookup(pod, "status.qosClass", "BestEffort"),
        "resources": {},
        **more,
    }


def waiting(pod: Obj, reason: str, message: str) -> None:
    """The container cannot be made, for now."""
    state = {"waiting": {"reason": reason, "message": message}}
    unready = ("False", "ContainersNotReady")
    states = {"Ready": unready, "ContainersReady": unready}
    _status(pod, "Pending", states, containerStatuses=_containers(pod, state, ready=False))


def running(pod: Obj) -> None:
    """The containers run."""
    state = {"running": {"startedAt": now()}}
    _status(pod, "Running", {}, containerStatuses=_containers(pod, state, ready=True))


def ended(pod: Obj, outcome: ContainerExit) -> None:
    """The containers ended."""
    good = outcome.exit_code == 0 and not outcome.pod_reason
    began = lookup(pod, "status.containerStatuses") or [{}]
    terminated: Obj = {
        "exitCode": outcome.exit_code,
        "reason": outcome.reason or ("Completed" if outcome.exit_code == 0 else "Error"),
        "startedAt": lookup(began[0], "state.running.startedAt") or now(),
        "finishedAt": now(),
    }
    # The end of it, as the kubelet does.
    message = outcome.message.encode()[-MESSAGE_LIMIT:].decode(errors="ignore")
    if message:
        terminated["message"] = message
    why = "PodCompleted" if good else "PodFailed"
    states = {
        "PodReadyToStartContainers": ("False", ""),
        "Initialized": ("True", why if good else ""),
        "Ready": ("False", why),
        "ContainersReady": ("False", why),
    }
    statuses = _containers(pod, {"terminated": terminated}, ready=False)
    _status(pod, "Succeeded" if good else "Failed", states, containerStatuses=statuses)
    if outcome.pod_reason:
        disrupted(pod, outcome.pod_reason)
