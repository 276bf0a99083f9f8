"""Who runs a Job's pod: a local process, or whatever a test makes of it.

A runner is any async callable that takes the pod and returns how its container ended::

    async def runner(pod: RunningPod) -> Outcome:
        pod.log.write(b"working\n")
        return Outcome(exit_code=0, message='{"ok": true}')
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from forensics_loopback.kinds.objects import Obj, name_of, namespace_of, uid_of
from forensics_loopback.kubelet.logs import ContainerLog


@dataclass(frozen=True, slots=True)
class ContainerExit:
    """How a container ended."""

    exit_code: int = 0
    message: str = ""
    """The termination message; cut at 4096 bytes, as the kubelet does."""
    reason: str = ""
    """`Completed` or `Error` by the exit code unless given: `OOMKilled`, say."""
    pod_reason: str = ""
    """For a pod that failed as a whole: `Evicted`, `NodeLost`."""


@dataclass(frozen=True, slots=True)
class RunningPod:
    """A pod whose container is about to run."""

    pod: Obj
    log: ContainerLog
    read: Callable[[str, str], Mapping[str, bytes] | None]
    """The decoded data of a `secrets` or `configmaps` object of the pod's namespace, or None."""

    @property
    def name(self) -> str:
        """The pod's name."""
        return name_of(self.pod)

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        return namespace_of(self.pod)

    @property
    def uid(self) -> str:
        """The pod's UID."""
        return uid_of(self.pod)

    @property
    def container(self) -> Obj:
        """The container that runs: the pod's first. Others are shown but never started."""
        first: Obj = self.pod["spec"]["containers"][0]
        return first


class JobRunner(Protocol):
    """Runs the pods of Jobs."""

    async def __call__(self, pod: RunningPod, /) -> ContainerExit:
        """Run the pod's container to its end. Cancellation means SIGTERM: the pod is deleted."""
        ...


async def succeed(pod: RunningPod) -> ContainerExit:
    """The runner that does nothing, at once and with success."""
    return ContainerExit()
