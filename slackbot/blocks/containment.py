"""What became of a checkpoint's pod: cut off, released, deleted; as lines of a message."""

from __future__ import annotations

from forensics_core.api.conditions import ConditionStatus, ConditionType, find_condition, is_true
from forensics_core.api.names import EVENT_LABEL, RULE_LABEL
from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.elements import span
from slackbot.blocks.limits import Blocks
from slackbot.catalogue import phrase


def is_isolated(checkpoint: PodCheckpoint) -> bool:
    """Return whether there is an isolation that could be lifted."""
    found = find_condition(checkpoint.status.conditions, ConditionType.ISOLATED)
    cut_off = found is not None and found.status is not ConditionStatus.FALSE
    return cut_off and not checkpoint.spec.release


def offered(checkpoint: PodCheckpoint) -> tuple[str, ...]:
    """Return what can be done with the pod now: `isolate`, `release`, `deletepod`."""
    if is_true(checkpoint.status.conditions, ConditionType.POD_DELETED):
        return ()
    isolation = "release" if is_isolated(checkpoint) else "isolate"
    asked = checkpoint.spec.isolate and not checkpoint.finished and isolation == "isolate"
    stored = checkpoint.captured and not checkpoint.failed
    return (*(() if asked else (isolation,)), *(("deletepod",) if stored else ()))


def isolation_text(checkpoint: PodCheckpoint, language: str) -> str:
    """Return whether the pod is cut off, and why not; empty where nobody asked for it."""
    found = find_condition(checkpoint.status.conditions, ConditionType.ISOLATED)
    if found is None:
        return phrase(language, "isolated.Asked") if checkpoint.spec.isolate else ""
    reason = found.reason
    known = reason in {"Enforced", "Unverified", "NotPossible", "Released"}
    key = f"isolated.{reason}" if known else "isolated.other"
    return phrase(language, key, reason=reason, message=found.message)


def deletion_text(checkpoint: PodCheckpoint, language: str) -> str:
    """Return what became of the pod after its capture; empty where that is not known."""
    found = find_condition(checkpoint.status.conditions, ConditionType.POD_DELETED)
    if found is None:
        return ""
    state = "gone" if found.status is ConditionStatus.TRUE else "kept"
    return phrase(language, f"poddeleted.{state}", reason=found.reason, message=found.message)


def rule_text(checkpoint: PodCheckpoint, language: str) -> str:
    """Return which rule asked for it, and on what; empty where somebody did."""
    labels = checkpoint.metadata.labels
    if RULE_LABEL not in labels:
        return ""
    return phrase(language, "rule.by", rule=labels[RULE_LABEL], event=labels.get(EVENT_LABEL, "-"))


def containment_lines(checkpoint: PodCheckpoint, language: str) -> list[Blocks]:
    """Return what is known, a line each."""
    said = (isolation_text(checkpoint, language), deletion_text(checkpoint, language))
    return [[span(text, bold=True)] for text in said if text]
