"""The pods of a world in memory: their labels, what isolates them, and whether they are deleted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import ApiUnavailable, Conflict, NotFound
from forensics_core.kube.objects import Object
from forensics_core.operator.containment.enforcement import DECLARED, NamespaceSurroundings
from forensics_core.operator.containment.policy import releasing_patch
from forensics_core.operator.shared.cache import name_of

if TYPE_CHECKING:
    from tests.unit.operator.world import World

LABELS = {"app": "web", "tier": "front", "colour": "green"}
OWNER = {"kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": True}
SURROUNDINGS = NamespaceSurroundings(
    services=({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}}},),
    controller={
        "kind": "ReplicaSet",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web", "tier": "front"}}},
    },
    enforcement=DECLARED,
)


@dataclass
class PodState:
    """One pod."""

    labels: dict[str, str] = field(default_factory=lambda: dict(LABELS))
    annotations: dict[str, str] = field(default_factory=dict)
    version: int = 1
    policy: str | None = None
    """The UID of the pod that a policy is for."""


@dataclass
class PodWorld:
    """`ContainmentEffects`; each is one write, after which the operator may be dead."""

    world: World
    pods: dict[str, PodState] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    """UIDs."""
    loses: bool = False
    """Whether a pod is changed, and the answer gets lost."""

    def of(self, key: str) -> PodState:
        """Return a checkpoint's pod."""
        return self.pods.setdefault(key, PodState())

    def metadata(self, key: str) -> Object:
        """Return what the API shows of it."""
        pod = self.of(key)
        return {
            "labels": dict(pod.labels),
            "annotations": dict(pod.annotations),
            "resourceVersion": str(pod.version),
            "ownerReferences": [OWNER],
        }

    def touch(self, key: str, **labels: str) -> None:
        """Have somebody else change it."""
        pod = self.of(key)
        pod.labels |= labels
        pod.version += 1

    def _check(self) -> None:
        if self.world.refuses is not None:
            raise self.world.refuses("no")

    async def create_policy(self, checkpoint: PodCheckpoint, policy: Object) -> None:
        """Create it, or adopt it."""
        self._check()
        (owner,) = policy["metadata"]["ownerReferences"]
        self.of(name_of(checkpoint)).policy = owner["uid"]
        self.world.note_write()

    async def delete_policy(self, checkpoint: PodCheckpoint) -> None:
        """Delete it."""
        self._check()
        if self.of(name_of(checkpoint)).policy is not None:
            self.of(name_of(checkpoint)).policy = None
            self.world.note_write()

    async def patch_pod(self, checkpoint: PodCheckpoint, patch: Object) -> None:
        """Change it, as it was read."""
        self._check()
        key, change = name_of(checkpoint), patch["metadata"]
        uid, pod = self.world.pods[key], self.of(key)
        if uid is None:
            raise NotFound("it is gone")
        if (uid, str(pod.version)) != (change["uid"], change["resourceVersion"]):
            raise Conflict("it has changed")
        pod.labels = _merged(pod.labels, change["labels"])
        pod.annotations = _merged(pod.annotations, change["annotations"])
        pod.version += 1
        self.world.note_write()
        if self.loses:
            raise ApiUnavailable("nobody knows")

    async def release_pod(self, checkpoint: PodCheckpoint) -> None:
        """Give it its labels back."""
        self._check()
        key = name_of(checkpoint)
        uid = self.world.pods[key]
        if uid is not None and uid == checkpoint.status.pod_uid:
            there = {"metadata": {**self.metadata(key), "uid": uid}}
            patch = releasing_patch(checkpoint, there)
            self.loses = False
            if patch is not None:
                await self.patch_pod(checkpoint, patch)

    async def delete_pod(self, checkpoint: PodCheckpoint, uid: str) -> None:
        """Delete it."""
        self._check()
        key = name_of(checkpoint)
        if self.world.pods[key] is None:
            raise NotFound("it is gone")
        if self.world.pods[key] != uid:
            raise Conflict("it is another one")
        self.world.pods[key] = None
        self.deleted.append(uid)
        self.world.note_write()


def _merged(there: dict[str, str], change: dict[str, str | None]) -> dict[str, str]:
    merged = there | change
    return {key: value for key, value in merged.items() if value is not None}
