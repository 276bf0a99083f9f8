"""CaptureRule: pods that are captured by themselves, on what, how, and how often at most.

Whoever writes one may capture all that it matches; admission holds them to that::

    rule = CaptureRule.parse(json.loads(answer))
    spec = rule.spec.checkpoint("web-0", "shop", reason="OOMKilled: container web")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from forensics_core._internal.arguments import PublicModel
from forensics_core.api.conditions import Condition, Time, clip
from forensics_core.api.names import RULE_KIND, RULE_PLURAL
from forensics_core.api.order import Model
from forensics_core.api.podcheckpoint import (
    PodCheckpointSpec,
    Short,
)
from forensics_core.api.resource import CustomResource
from forensics_core.api.steps import Count

EVERYWHERE = "*"
"""Stands for all namespaces but the protected ones."""
PROTECTED = frozenset({"kube-system", "forensics-system", "forensics-operator"})
"""Namespaces that a rule means only where it names them."""
NAMESPACES = 16
"""Namespaces of one rule: admission asks for a right in each, and an API server pays for no more
than 28 such questions a request."""
NOT_IN_TEMPLATE = frozenset({"pod", "namespace", "cancel", "release"})
"""What each capture has of its own."""
LAST = 5
"""Things held back that a status has room for."""
LAST_CAPTURES = 20
"""Captures that it has room for: an operator that starts again reads from them what it did, though
their PodCheckpoints may be gone."""


_NAMESPACE = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?|[*])$"


class TriggerEvent(StrEnum):
    """What can happen to a pod that a rule captures it for."""

    ANNOTATED = "Annotated"
    CRASH_LOOP = "CrashLoop"
    OOM_KILLED = "OOMKilled"
    FAILED = "Failed"
    EVICTED = "Evicted"
    DELETED = "Deleted"
    ALERT = "Alert"


class AlertPriority(StrEnum):
    """Falco's priorities, the gravest first."""

    EMERGENCY = "Emergency"
    ALERT = "Alert"
    CRITICAL = "Critical"
    ERROR = "Error"
    WARNING = "Warning"
    NOTICE = "Notice"
    INFORMATIONAL = "Informational"
    DEBUG = "Debug"

    @property
    def rank(self) -> int:
        """0 for the gravest."""
        return list(AlertPriority).index(self)


class SelectorOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


_LABEL_KEY = (
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LabelKey = Annotated[str, Field(min_length=1, max_length=317, pattern=f"^{_LABEL_KEY}$")]
_LabelValue = Annotated[
    str, Field(max_length=63, pattern="^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
]


class LabelRequirement(PublicModel, Model):
    """One comparison of a label."""

    key: _LabelKey
    """The label."""
    operator: SelectorOperator
    """In, NotIn, Exists or DoesNotExist."""
    values: Annotated[tuple[_LabelValue, ...], Field(max_length=32)] = ()
    """With In and NotIn: at least one value."""

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        wanted = self.operator in {SelectorOperator.IN, SelectorOperator.NOT_IN}
        if wanted != bool(self.values):
            raise ValueError(f"{self.operator} takes {'values' if wanted else 'no values'}")
        return self

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels are so; as in Kubernetes, NotIn holds of an absent label."""
        match self.operator:
            case SelectorOperator.IN:
                return labels.get(self.key) in self.values
            case SelectorOperator.NOT_IN:
                return labels.get(self.key) not in self.values
            case SelectorOperator.EXISTS:
                return self.key in labels
            case SelectorOperator.DOES_NOT_EXIST:
                return self.key not in labels


class LabelSelector(PublicModel, Model):
    """Which pods, by their labels; all of it has to hold, and nothing means all pods."""

    match_labels: Annotated[dict[str, _LabelValue], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """Labels with exactly these values."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=16)] = ()
    """Comparisons of labels."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether a pod with these labels is meant."""
        return self.match_labels.items() <= labels.items() and all(
            requirement.holds(labels) for requirement in self.match_expressions
        )


class AlertFilter(PublicModel, Model):
    """Which alerts, with the event Alert; all that is given has to fit."""

    rules: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=64)
    ] = ()
    """Names of Falco's rules, as they are written there. Default: any."""
    priority: AlertPriority = AlertPriority.DEBUG
    """The least priority, such as Warning. Default: any."""
    tags: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(max_length=32)
    ] = ()
    """Tags of Falco's rules, of which the alert has at least one. Default: any."""


class RuleLimits(PublicModel, Model):
    """What keeps a rule from capturing more than is worth having."""

    per_pod: Annotated[int, Field(ge=1, le=100)] = 1
    """Captures of one pod, whatever happens to it."""
    per_hour: Annotated[int, Field(ge=1, le=1000)] = 10
    """Captures by this rule within any hour."""
    per_namespace: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Of these, captures of the pods of one namespace. Default: half of them where the rule is of
    several namespaces, so that nobody in one of them can use up what is meant for all."""


def _check_template(template: dict[str, Any]) -> dict[str, Any]:
    for name in NOT_IN_TEMPLATE & template.keys():
        raise ValueError(f"{name} is no part of a template: each capture has its own")
    _made_of(template, {"pod": "pod"})
    return template


def _made_of(template: Mapping[str, Any], own: Mapping[str, Any]) -> PodCheckpointSpec:
    return PodCheckpointSpec.model_validate({**template, **own}, extra="ignore")


class CaptureRuleSpec(PublicModel, Model):
    """Which pods to capture, on what, and how."""

    namespaces: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63, pattern=_NAMESPACE)], ...],
        Field(min_length=1, max_length=NAMESPACES),
    ]
    """Namespaces of the pods, or "*" for all of them but kube-system, forensics-system and
    forensics-operator, which have to be named."""
    selector: LabelSelector = Field(default_factory=LabelSelector)
    """Which of their pods. Default: all."""
    events: Annotated[tuple[TriggerEvent, ...], Field(min_length=1, max_length=len(TriggerEvent))]
    """What they are captured for: Annotated, CrashLoop, OOMKilled, Failed, Evicted, Deleted,
    Alert."""
    alert: AlertFilter | None = None
    """Which alerts, with the event Alert. Default: all."""
    template: Annotated[dict[str, Any], AfterValidator(_check_template)] = Field(
        default_factory=dict
    )
    """What each PodCheckpoint's spec says, but for its pod and namespace."""
    limits: RuleLimits = RuleLimits()
    """How often at most."""
    dedupe_seconds: Annotated[int, Field(ge=0, le=604800)] = 3600
    """For how long the same (workload, container, reason and image) is not captured again."""
    hold: bool = False
    """Keep pods that are being deleted until their evidence is safe. It takes an overlay."""
    hold_seconds: Annotated[int, Field(ge=1, le=600)] = 120
    """How long a pod is held at most, whatever happens."""
    dry_run: bool = False
    """Capture nothing: only tell, by events and in the status, what would be captured."""
    _unless_named: frozenset[str] = PrivateAttr(default=PROTECTED)

    def sparing(self, namespaces: Iterable[str]) -> Self:
        """Return the same for an operator to which these namespaces belong: as PROTECTED are, they
        are meant only where they are named."""
        own = self.model_copy()
        own._unless_named = PROTECTED.union(namespaces)
        return own

    @property
    def share(self) -> int:
        """Captures of the pods of one namespace within any hour."""
        limits = self.limits
        if limits.per_namespace is not None:
            return min(limits.per_namespace, limits.per_hour)
        several = len(set(self.namespaces)) > 1 or EVERYWHERE in self.namespaces
        return (limits.per_hour + 1) // 2 if several else limits.per_hour

    def covers(self, namespace: str) -> bool:
        """Return whether pods of a namespace are meant."""
        named = namespace in self.namespaces
        return named or (EVERYWHERE in self.namespaces and namespace not in self._unless_named)

    def matches(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Return whether a pod is meant."""
        return self.covers(namespace) and self.selector.matches(labels)

    def checkpoint(self, pod: str, namespace: str, *, reason: str) -> PodCheckpointSpec:
        """Return the spec of the capture of a pod; the template's own reason comes first."""
        given = self.template.get("reason") or ""
        said = f"{given}: {reason}" if given else reason
        own = {"pod": pod, "namespace": namespace, "reason": clip(said, 1024)}
        return _made_of(self.template, own)


class CaptureRecord(Model):
    """One capture that a rule asked for."""

    time: Time
    """When."""
    event: TriggerEvent
    """What for."""
    namespace: Short
    """The pod's namespace."""
    pod: Short
    """The pod."""
    pod_uid: Annotated[Short, Field(alias="podUID")] = ""
    """Its UID."""
    checkpoint: Short
    """The PodCheckpoint; in a dry run, what it would have been called."""
    dry_run: bool = False
    """Whether nothing was captured."""


class HeldBackRecord(Model):
    """Something that a rule matched and did not capture."""

    time: Time
    """When."""
    event: TriggerEvent
    """What happened."""
    namespace: Short
    """The pod's namespace."""
    pod: Short
    """The pod."""
    reason: Short
    """Why it was not captured: one CamelCase word."""
    message: Annotated[
        str, BeforeValidator(lambda text: clip(text, 512)), Field(max_length=512)
    ] = ""
    """The same for people."""


class ReasonCount(Model):
    """How often something was held back for one reason."""

    reason: Annotated[str, Field(min_length=1, max_length=63)]
    """One CamelCase word."""
    count: Count
    """How often."""


class HeldBackStatus(Model):
    """What was not captured, and why."""

    total: Count = 0
    """How much, since the rule was made."""
    reasons: Annotated[tuple[ReasonCount, ...], Field(max_length=16)] = ()
    """How much of it for which reason."""
    last: Annotated[tuple[HeldBackRecord, ...], Field(max_length=LAST)] = ()
    """The latest, the newest first."""


class CaptureRuleStatus(PublicModel, Model):
    """What a rule did, and what it held back. Written by the operator alone."""

    conditions: Annotated[tuple[Condition, ...], Field(max_length=8)] = ()
    """Active: the rule is acted on, or why not."""
    observed_generation: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    """The metadata.generation that this status was concluded from."""
    active_since: Time | None = None
    """Since when the rule is as it is now: what happened before is no reason to capture."""
    captured: Count = 0
    """PodCheckpoints made; in a dry run, that would have been made."""
    last_triggered: Time | None = None
    """When the last one was made."""
    last_captures: Annotated[tuple[CaptureRecord, ...], Field(max_length=LAST_CAPTURES)] = ()
    """The latest captures, the newest first."""
    held_back: HeldBackStatus | None = None
    """What was not captured, and why."""

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON data, without what is unknown."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class CaptureRule(CustomResource):
    """Pods that are captured by themselves, as soon as something happens to them."""

    explained_as: ClassVar = RULE_PLURAL

    kind: Literal["CaptureRule"] = RULE_KIND
    spec: CaptureRuleSpec
    status: CaptureRuleStatus = Field(default_factory=CaptureRuleStatus)
