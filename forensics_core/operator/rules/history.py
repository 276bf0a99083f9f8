"""What rules have captured already, so that nothing is captured twice: also after a restart.

It is read from the PodCheckpoints there are, their labels and annotations, and from the rules'
statuses; so a new leader knows what the old one did. Bounded: the oldest go first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from forensics_core.api.capturerule import CaptureRule
from forensics_core.api.names import (
    EXPECTED_POD_UID_ANNOTATION,
    RULE_LABEL,
    TRIGGER_KEY_ANNOTATION,
)
from forensics_core.api.podcheckpoint import PodCheckpoint

MAX_REMEMBERED = 20_000
"""Captures that are remembered, of all rules together: some 10 MB."""
OVERLAP = 60.0
"""Seconds for which a capture by one rule stands for others of the same pod, once it is over."""


def rule_id(namespace: str | None, name: str) -> str:
    """Return how a rule is called here: `namespace/name`."""
    return f"{namespace or ''}/{name}"


@dataclass(frozen=True, slots=True)
class PastCapture:
    """One capture that a rule asked for, or in a dry run would have."""

    name: str
    """The PodCheckpoint's."""
    rule: str
    pod_uid: str
    at: float
    """Seconds since 1970."""
    key: str = ""
    """What it is a duplicate of if it comes again; empty if that is not known any more."""
    dry: bool = False
    over: bool = False
    """Whether the capture has come to its end."""
    failed: bool = False
    """Whether it yielded nothing: then it keeps nobody from another try."""
    namespace: str = ""
    """The pod's."""
    safe: bool = False
    """Whether the evidence is stored: the pod may go."""

    @property
    def place(self) -> tuple[str, str]:
        """By what it is known: two rules make one capture, but each tells of its dry run."""
        return place_of(self.name, self.rule, dry=self.dry)


def place_of(name: str, rule: str, *, dry: bool) -> tuple[str, str]:
    """Return by what a capture is known."""
    return name, rule if dry else ""


class CaptureHistory:
    """The captures that rules asked for."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._all: OrderedDict[tuple[str, str], PastCapture] = OrderedDict()
        self._by_pod: dict[str, set[tuple[str, str]]] = {}
        self._by_rule: dict[str, set[tuple[str, str]]] = {}
        self.heard: Callable[[str], None] | None = None
        """Called with a pod's UID once more is known of its captures."""

    def __len__(self) -> int:
        return len(self._all)

    def learn(self, checkpoint: PodCheckpoint, *, gone: bool = False) -> None:
        """Take what a PodCheckpoint says; one that is gone is over, and stays known."""
        metadata = checkpoint.metadata
        rule = metadata.labels.get(RULE_LABEL)
        created = metadata.creation_timestamp
        if rule is None or created is None:
            return
        failed = checkpoint.failed and not checkpoint.captured
        self.note(
            PastCapture(
                name=metadata.name,
                rule=rule_id(metadata.namespace, rule),
                pod_uid=metadata.annotations.get(EXPECTED_POD_UID_ANNOTATION, ""),
                at=created.timestamp(),
                key=metadata.annotations.get(TRIGGER_KEY_ANNOTATION, ""),
                over=gone or checkpoint.finished,
                namespace=checkpoint.spec.namespace or metadata.namespace or "",
                failed=failed,
                safe=checkpoint.captured,
            )
        )

    def recall(self, rule: CaptureRule) -> None:
        """Take what a rule's status says of captures whose PodCheckpoints may be gone."""
        for one in rule.status.last_captures:
            captured = PastCapture(
                name=one.checkpoint,
                rule=rule_id(rule.metadata.namespace, rule.metadata.name),
                pod_uid=one.pod_uid,
                at=one.time.timestamp(),
                dry=one.dry_run,
                over=True,
                namespace=one.namespace,
            )
            if captured.place not in self._all:
                self.note(captured)

    def note(self, captured: PastCapture) -> None:
        """Remember a capture; what is known of it already is replaced, but never its key."""
        place = captured.place
        known = self._all.get(place)
        if known is not None:
            captured = replace(captured, key=captured.key or known.key)
            self._drop(place)
        self._all[place] = captured
        self._by_pod.setdefault(captured.pod_uid, set()).add(place)
        self._by_rule.setdefault(captured.rule, set()).add(place)
        if len(self._all) > self._limit:
            self._drop(next(iter(self._all)))
        self._notify(captured.pod_uid)

    def withdraw(self, name: str) -> None:
        """Forget a capture that could not be asked for."""
        place = place_of(name, "", dry=False)
        if place in self._all:
            uid = self._all[place].pod_uid
            self._drop(place)
            self._notify(uid)

    def awaits(self, pod_uid: str) -> bool:
        """Return whether a capture of the pod is under way, its evidence not stored yet."""
        return any(not (one.dry or one.over or one.safe) for one in self._of_pod(pod_uid))

    def knows(self, name: str, rule: str, *, dry: bool) -> bool:
        """Return whether the very same was captured before."""
        return place_of(name, rule, dry=dry) in self._all

    def count_of_pod(self, rule: str, pod_uid: str, *, dry: bool) -> int:
        """Count the captures of a pod by a rule."""
        return sum(one.rule == rule and one.dry == dry for one in self._of_pod(pod_uid))

    def count_since(
        self, rule: str, since: float, *, dry: bool, namespace: str | None = None
    ) -> int:
        """Count the captures by a rule after a time; only those of a `namespace`, if given."""
        return sum(
            one.at > since and one.dry == dry and namespace in {None, one.namespace}
            for one in self._of_rule(rule)
        )

    def duplicate(self, rule: str, key: str, since: float, *, dry: bool) -> PastCapture | None:
        """Return a capture by a rule of the same thing after a time, unless it came to nothing."""
        found = (
            one
            for one in self._of_rule(rule)
            if one.key == key and one.at > since and one.dry == dry and not one.failed
        )
        return next(found, None)

    def by_another(self, rule: str, pod_uid: str, now: float, *, dry: bool) -> PastCapture | None:
        """Return a capture of the pod by another rule that stands for one by this rule."""
        found = (
            one
            for one in self._of_pod(pod_uid)
            if one.rule != rule
            and one.dry == dry
            and not one.failed
            and (not one.over or now - one.at < OVERLAP)
        )
        return next(found, None)

    def _notify(self, pod_uid: str) -> None:
        if self.heard is not None:
            self.heard(pod_uid)

    def _of_pod(self, pod_uid: str) -> Iterator[PastCapture]:
        return self._some(self._by_pod.get(pod_uid, ()))

    def _of_rule(self, rule: str) -> Iterator[PastCapture]:
        return self._some(self._by_rule.get(rule, ()))

    def _some(self, places: Iterable[tuple[str, str]]) -> Iterator[PastCapture]:
        return (self._all[place] for place in places)

    def _drop(self, place: tuple[str, str]) -> None:
        captured = self._all.pop(place)
        for index, key in ((self._by_pod, captured.pod_uid), (self._by_rule, captured.rule)):
            there = index[key]
            there.discard(place)
            if not there:
                del index[key]
