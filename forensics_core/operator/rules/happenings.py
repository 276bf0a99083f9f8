"""What has happened to a pod, told from its present state alone. Pure.

Nothing has to be seen at the moment when it happens: an operator that comes back finds it still.
Each happening has an occurrence, by which the same one is known again, and the next one of its kind
is told from it.
"""

from __future__ import annotations

from collections.abc import Iterator

from forensics_core.api.capturerule import TriggerEvent
from forensics_core.operator.rules.facts import ContainerFacts, Happening, PodFacts

LOOPING = 2
"""Restarts after which a container that fails counts as crash-looping, also between its waits."""
ORDER = (
    TriggerEvent.ALERT,
    TriggerEvent.ANNOTATED,
    TriggerEvent.DELETED,
    TriggerEvent.OOM_KILLED,
    TriggerEvent.CRASH_LOOP,
    TriggerEvent.EVICTED,
    TriggerEvent.FAILED,
)
"""Which event a capture is for where several came at once: what says most comes first."""


def happenings(pod: PodFacts) -> tuple[Happening, ...]:
    """Return all that is so now; nothing of a pod of which nothing ever ran."""
    if not pod.ran:
        return ()
    return tuple(_all(pod))


def news(before: PodFacts | None, after: PodFacts) -> tuple[Happening, ...]:
    """Return what is so now and was not before."""
    found = happenings(after)
    if not found or before is None or before.uid != after.uid:
        return found
    known = {one.identity for one in happenings(before)}
    return tuple(one for one in found if one.identity not in known)


def _all(pod: PodFacts) -> Iterator[Happening]:
    if pod.capture_reason:
        # Whoever asks for a pod means that one: another of its workload is another request.
        reason = f"{pod.uid} {pod.capture_reason}"
        yield Happening(
            TriggerEvent.ANNOTATED, pod.capture_reason, None, pod.capture_reason, reason=reason
        )
    if pod.deleting_at is not None:
        yield Happening(
            TriggerEvent.DELETED, "", pod.deleting_at, "it is being deleted", image=_images(pod)
        )
    for container in pod.containers:
        yield from _of_container(container)
    if pod.disruption is not None:
        why = pod.disruption.reason
        yield Happening(
            TriggerEvent.EVICTED, "", pod.disruption.at, why, image=_images(pod), reason=why
        )
    if pod.failed:
        yield Happening(
            TriggerEvent.FAILED, "", _ended_at(pod), "the pod has failed", image=_images(pod)
        )


def _of_container(container: ContainerFacts) -> Iterator[Happening]:
    ended = container.ended
    if ended is not None and ended.reason == "OOMKilled":
        yield Happening(
            TriggerEvent.OOM_KILLED,
            str(ended.at),
            ended.at,
            f"container {container.name}, restarts {container.restarts}",
            container.name,
            container.image,
        )
    failing = ended is not None and ended.exit_code != 0 and container.restarts >= LOOPING
    if container.backing_off or failing:
        how = f"{ended.reason} {ended.exit_code}" if ended else ""
        yield Happening(
            TriggerEvent.CRASH_LOOP,
            str(container.restarts),
            ended.at if ended else None,
            f"container {container.name}, restarts {container.restarts}, {how or 'no exit code'}",
            container.name,
            container.image,
            how,
        )


def _images(pod: PodFacts) -> str:
    return " ".join(sorted({container.image for container in pod.containers}))


def _ended_at(pod: PodFacts) -> float | None:
    ends = [one.ended.at for one in pod.containers if one.ended and one.ended.at]
    return max(ends, default=pod.changed_at)
