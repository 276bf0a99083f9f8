"""What rules know of a pod, in a few hundred bytes (thousands are kept), and what happened to it.

Everything here is the cluster's, the node's or the container's word; text is cut, and what is no
time is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from forensics_core.api.capturerule import AlertPriority, TriggerEvent
from forensics_core.api.names import CAPTURE_ANNOTATION
from forensics_core.kube.holds import is_held
from forensics_core.kube.objects import Object, deletion_asked_at, moment

BACKING_OFF = "CrashLoopBackOff"
DISRUPTION = "DisruptionTarget"
REASON_LIMIT = 512
"""Characters of an annotation that asks for a capture."""
WORD_LIMIT = 128
"""Characters of a word for why something ended."""
NAME_LIMIT, IMAGE_LIMIT = 253, 512
"""Characters of a container's name or ID, and of its image: a node may say anything."""
MAX_CONTAINERS = 128
"""Containers of each sort that are kept of a pod."""
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_HASH_LABEL = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class ContainerEnd:
    """How a container last ended."""

    reason: str
    exit_code: int
    at: float | None
    """Seconds since 1970, as the node has it."""


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One container of a pod."""

    name: str
    image: str
    container_id: str
    """Without its scheme; empty if it never ran."""
    restarts: int
    backing_off: bool
    ended: ContainerEnd | None
    previous_id: str = ""
    """The ID that it had before it was restarted; empty if it was not."""


@dataclass(frozen=True, slots=True)
class Disruption:
    """Why the cluster takes a pod away."""

    reason: str
    at: float | None


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    workload: str
    """Kind and name of what made the pod, so that its replicas have the same; or the pod itself."""
    capture_reason: str
    """What the annotation says that asks for a capture."""
    failed: bool
    changed_at: float | None
    """When the newest of its conditions changed."""
    deleting_at: float | None
    """When somebody asked for its deletion."""
    held: bool
    """Whether a hold keeps it."""
    disruption: Disruption | None
    containers: tuple[ContainerFacts, ...]

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name

    @property
    def ran(self) -> bool:
        """Whether there is a container to capture, running or not."""
        return any(container.container_id for container in self.containers)

    def and_now(self, now: PodFacts) -> PodFacts:
        """Return what is known of the same pod now.

        A kubelet that evicts a pod may take back what it has told of its containers: they ran.
        """
        return replace(now, containers=self.containers) if self.ran and not now.ran else now

    def container(self, container_id: str) -> ContainerFacts | None:
        """Return the container of an id, which may be cut short as Falco does."""
        if not container_id:
            return None
        for one in self.containers:
            if one.container_id.startswith(container_id) or one.previous_id.startswith(
                container_id
            ):
                return one
        return None


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that a rule may capture a pod for."""

    event: TriggerEvent
    occurrence: str
    at: float | None
    """Seconds since 1970; None where nobody says."""
    note: str
    """For people."""
    container: str = ""
    image: str = ""
    reason: str = ""
    """What it has in common with others that tell nothing new."""

    @property
    def identity(self) -> tuple[TriggerEvent, str, str]:
        """By what it is known again."""
        return self.event, self.container, self.occurrence


@dataclass(frozen=True, slots=True)
class Alert:
    """What an alert says of a pod, cut and made fit to be shown.

    One without a namespace and a pod is of the pod that has the container.
    """

    rule: str
    priority: AlertPriority
    namespace: str
    pod: str
    tags: tuple[str, ...] = ()
    container_id: str = ""
    container: str = ""
    pod_uid: str = ""
    """As the runtime has it; empty if nobody says."""
    document: str = ""
    """All that is kept of it, as JSON."""
    digest: str = ""
    """By which it is known when it comes again."""


def facts_of(pod: Object) -> PodFacts:
    """Return what rules need to know of a pod; an isolated one is given as it was before that."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = _interned(metadata.get("labels"))
    conditions = [one for one in status.get("conditions") or () if isinstance(one, dict)]
    changed = [at for one in conditions if (at := moment(one.get("lastTransitionTime")))]
    return PodFacts(
        uid=metadata.get("uid", ""),
        namespace=sys.intern(metadata.get("namespace", "")),
        name=metadata["name"],
        labels=labels,
        workload=sys.intern(_workload(metadata, labels)),
        capture_reason=_capture_reason(metadata.get("annotations") or {}),
        failed=status.get("phase") == "Failed",
        changed_at=max(changed, default=None),
        deleting_at=deletion_asked_at(metadata),
        held=is_held(metadata),
        disruption=_disruption(status, conditions),
        containers=tuple(_containers(status)),
    )


def slim_known(pod: Object) -> Object:
    """Return what the watch has to keep of a pod whose deletion may be missed."""
    kept = ("name", "namespace", "uid", "resourceVersion")
    metadata = pod["metadata"]
    return {"metadata": {key: metadata[key] for key in kept if key in metadata}}


def _interned(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return the labels so that equal words of thousands of pods are in memory once."""
    return {sys.intern(key): sys.intern(str(value)) for key, value in (labels or {}).items()}


def _capture_reason(annotations: Mapping[str, str]) -> str:
    if CAPTURE_ANNOTATION not in annotations:
        return ""
    # Somebody who gives no reason wants it captured all the same.
    return str(annotations[CAPTURE_ANNOTATION])[:REASON_LIMIT] or "asked for"


def _workload(metadata: Object, labels: Mapping[str, str]) -> str:
    """Name what made the pod. A ReplicaSet is one state of a Deployment: that one is meant."""
    owners = metadata.get("ownerReferences") or []
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return f"Pod/{metadata['name']}"
    kind, name = str(owner.get("kind", "")), str(owner.get("name", ""))
    template = labels.get(_HASH_LABEL, "")
    if kind == "ReplicaSet" and template and name.endswith(f"-{template}"):
        return f"Deployment/{name.removesuffix(f'-{template}')}"
    return f"{kind}/{name}"


def _disruption(status: Object, conditions: list[Object]) -> Disruption | None:
    for one in conditions:
        if one.get("type") == DISRUPTION and one.get("status") == "True":
            at = moment(one.get("lastTransitionTime"))
            return Disruption(_word(one.get("reason")) or DISRUPTION, at)
    # Kubelets wrote no such condition once, and some distributions' still do not.
    return Disruption("Evicted", None) if status.get("reason") == "Evicted" else None


def _containers(status: Object) -> Iterator[ContainerFacts]:
    for group in _STATUSES:
        for one in (status.get(group) or ())[:MAX_CONTAINERS]:
            state, last = one.get("state") or {}, one.get("lastState") or {}
            yield ContainerFacts(
                name=sys.intern(str(one.get("name", ""))[:NAME_LIMIT]),
                image=sys.intern(str(one.get("image", ""))[:IMAGE_LIMIT]),
                container_id=_id(one),
                restarts=_whole(one.get("restartCount")),
                backing_off=(state.get("waiting") or {}).get("reason") == BACKING_OFF,
                ended=_end(state.get("terminated") or last.get("terminated")),
                previous_id=_id(last.get("terminated")),
            )


def _id(said: Any) -> str:
    """Return the container's ID in a status, or in how it ended, without its scheme."""
    text = said.get("containerID") if isinstance(said, dict) else None
    return str(text or "").rpartition("//")[2][:NAME_LIMIT]


def _end(terminated: Any) -> ContainerEnd | None:
    if not isinstance(terminated, dict):
        return None
    return ContainerEnd(
        _word(terminated.get("reason")),
        _whole(terminated.get("exitCode")),
        moment(terminated.get("finishedAt")),
    )


def _word(text: object) -> str:
    return sys.intern(str(text or "")[:WORD_LIMIT])


def _whole(number: object) -> int:
    return number if isinstance(number, int) else 0
