"""Which pods to hold, and which to let go. Pure.

for step in holds(pods, specs, history.awaits, now): ...  # Hold: put it on; Free: take it off
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from forensics_core.api.capturerule import CaptureRuleSpec, TriggerEvent
from forensics_core.api.names import HOLD_LABEL
from forensics_core.kube.holds import seconds_of
from forensics_core.operator.rules.facts import PodFacts


@dataclass(frozen=True, slots=True)
class Hold:
    """Put the hold on a pod, or change for how long."""

    pod: PodFacts
    seconds: int


@dataclass(frozen=True, slots=True)
class Free:
    """Take the hold off a pod."""

    pod: PodFacts


def holds(
    pods: Iterable[PodFacts],
    specs: Sequence[CaptureRuleSpec],
    awaited: Callable[[str], bool],
    now: float,
) -> Iterator[Hold | Free]:
    """Yield what is to be done about each pod.

    `specs` are those of the rules that are acted on; `awaited` says of a pod's UID whether a
    capture is under way whose evidence is not stored yet; `now` is in seconds since 1970.
    """
    for pod in pods:
        if pod.deleting_at is None:
            step = _before_deletion(pod, specs)
        else:
            step = _in_deletion(pod, now, awaited=awaited(pod.uid))
        if step is not None:
            yield step


def wants_hold(spec: CaptureRuleSpec) -> bool:
    """Return whether a rule holds the pods that it matches."""
    return spec.hold and not spec.dry_run and TriggerEvent.DELETED in spec.events


def over_at(pod: PodFacts) -> float | None:
    """Return when the hold on a pod that is being deleted ends, whatever happens."""
    if pod.deleting_at is None or not pod.held:
        return None
    return pod.deleting_at + seconds_of(pod.labels)


def _before_deletion(pod: PodFacts, specs: Sequence[CaptureRuleSpec]) -> Hold | Free | None:
    # A static pod's object is the kubelet's mirror: it has to be able to make it anew.
    if pod.workload.startswith("Node/"):
        specs = ()
    fit = (spec for spec in specs if wants_hold(spec) and spec.matches(pod.namespace, pod.labels))
    seconds = max((spec.hold_seconds for spec in fit), default=None)
    mark = pod.labels.get(HOLD_LABEL)
    if seconds is None:
        return Free(pod) if pod.held or mark is not None else None
    return None if pod.held and mark == str(seconds) else Hold(pod, seconds)


def _in_deletion(pod: PodFacts, now: float, *, awaited: bool) -> Free | None:
    end = over_at(pod)
    if end is None:
        # A finalizer cannot be added any more.
        return None
    return None if awaited and now < end else Free(pod)
