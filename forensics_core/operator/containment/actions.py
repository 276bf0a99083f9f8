"""What can be done about a pod that is captured, as data, and the effects that this has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.kube.objects import Object


@dataclass(frozen=True, slots=True)
class Isolate:
    """Cut the pod off: the policy, then the labels, then the condition."""

    policy: Object
    patch: Object | None
    """What to change on the pod; None if that is done."""
    enforced: bool
    message: str
    until: datetime | None = None
    """When to give up at the latest."""


@dataclass(frozen=True, slots=True)
class GiveUpIsolation:
    """Undo whatever was begun, and say why the pod is not isolated."""

    message: str


@dataclass(frozen=True, slots=True)
class LiftIsolation:
    """Give the pod back what it lost, delete the policy, and say so."""

    message: str


@dataclass(frozen=True, slots=True)
class TellRefusal:
    """Say that an isolation could not be lifted, and go on; it is tried again after the end."""

    message: str


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete the pod that was captured, and no other one of its name."""

    uid: str


@dataclass(frozen=True, slots=True)
class TellDeletion:
    """Say what became of the wish that the pod be deleted."""

    deleted: bool
    reason: str
    message: str


ContainmentAction = (
    Isolate | GiveUpIsolation | LiftIsolation | TellRefusal | DeletePod | TellDeletion
)


class ContainmentEffects(Protocol):
    """What containment does to the cluster; each is safe to do twice, and none takes for ever.

    All raise a `ClusterError`: `ApiUnavailable` if it takes too long.
    """

    async def create_policy(self, checkpoint: PodCheckpoint, policy: Object) -> None:
        """Create the network policy. Raises `AlreadyExists` if the name is somebody else's."""
        ...

    async def delete_policy(self, checkpoint: PodCheckpoint) -> None:
        """Delete the checkpoint's network policy, if there is one."""
        ...

    async def patch_pod(self, checkpoint: PodCheckpoint, patch: Object) -> None:
        """Change the pod. Raises `Conflict` if it has changed since it was read, `NotFound`."""
        ...

    async def release_pod(self, checkpoint: PodCheckpoint) -> None:
        """Give the pod its labels back as it is now, if it is isolated for this checkpoint.

        What was looked at before may be older than a change whose answer was lost. Raises
        `Conflict` if somebody changes it at the same moment.
        """
        ...

    async def delete_pod(self, checkpoint: PodCheckpoint, uid: str) -> None:
        """Delete the pod with this UID. Raises `NotFound`, `Conflict` if it is another one."""
        ...
