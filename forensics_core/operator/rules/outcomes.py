"""What comes of something that a rule matched: a capture to ask for, or why it is held back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from forensics_core.api.capturerule import CaptureRule, TriggerEvent
from forensics_core.operator.rules.facts import Alert, Happening, PodFacts
from forensics_core.operator.rules.history import PastCapture, rule_id


class HeldReason(StrEnum):
    """Why something that a rule matched was not captured."""

    PER_POD = "PerPod"
    PER_HOUR = "PerHour"
    PER_NAMESPACE = "PerNamespace"
    DUPLICATE = "Duplicate"
    OTHER_RULE = "OtherRule"
    POD_GONE = "PodGone"
    NOT_FOUND = "NotFound"
    NEVER_RAN = "NeverRan"
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class ActiveRule:
    """A rule that is acted on."""

    rule: CaptureRule
    since: float
    """Since when it is as it is, in seconds since 1970."""
    events: frozenset[TriggerEvent] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", frozenset(self.rule.spec.events))

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.rule.metadata.name

    @property
    def id(self) -> str:
        """`namespace/name`: there may be several namespaces of rules."""
        return rule_id(self.rule.metadata.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A capture to ask for."""

    rule: ActiveRule
    pod: PodFacts
    happening: Happening
    name: str
    """The PodCheckpoint's, which follows from pod and happening: one for all rules and tries."""
    key: str
    reason: str
    """What goes into the manifest."""
    alert: Alert | None = None

    def as_captured(self, now: float) -> PastCapture:
        """Return what is remembered of it."""
        dry = self.rule.rule.spec.dry_run
        return PastCapture(
            name=self.name,
            rule=self.rule.id,
            pod_uid=self.pod.uid,
            at=now,
            key=self.key,
            dry=dry,
            namespace=self.pod.namespace,
        )


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Something that a rule matched and does not capture."""

    rule: ActiveRule
    event: TriggerEvent
    namespace: str
    pod: str
    reason: HeldReason
    message: str
