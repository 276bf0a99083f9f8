"""The log of a pod's container, where the kubelet that runs it has it."""

from __future__ import annotations

from forensics_loopback.kinds.objects import Obj, lookup, name_of
from forensics_loopback.kinds.status import bad_request


def container_of(pod: Obj, wanted: str) -> str:
    """The container whose log is asked for; raises a 400 where that is unclear or has none yet."""
    names = [str(container["name"]) for container in pod["spec"]["containers"]]
    pod_name = name_of(pod)
    if not wanted and len(names) > 1:
        raise bad_request(
            f"a container name must be specified for pod {pod_name}, choose one of: "
            f"[{' '.join(names)}]"
        )
    wanted = wanted or names[0]
    if wanted not in names:
        raise bad_request(f"container {wanted} is not valid for pod {pod_name}")
    for status in lookup(pod, "status.containerStatuses") or [{"name": wanted}]:
        state = status.get("state", {"waiting": {"reason": "ContainerCreating"}})
        if status["name"] == wanted and "waiting" in state:
            reason = state["waiting"].get("reason", "ContainerCreating")
            raise bad_request(
                f'container "{wanted}" in pod "{pod_name}" is waiting to start: {reason}'
            )
    return wanted
