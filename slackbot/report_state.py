"""How far the report of a checkpoint is: what is worth a line in its thread, and what is there.

The bot keeps it in annotations of the PodCheckpoint, so that it goes on after a restart.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from forensics_core.api.conditions import ConditionType, find_condition, is_true
from forensics_core.api.names import (
    EXPECTED_POD_UID_ANNOTATION,
    GROUP,
    INCIDENT_LABEL,
    RULE_LABEL,
)
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint

CHANNEL_ANNOTATION = f"{GROUP}/slack-channel"
"""The channel to report in; anybody may set it on a PodCheckpoint."""
MESSAGE_ANNOTATION = f"{GROUP}/slack-message"
"""The timestamp that names the root message."""
THREAD_ANNOTATION = f"{GROUP}/slack-thread"
"""The message in whose thread the form was opened: a link to the report is posted there."""
REQUESTER_ANNOTATION = f"{GROUP}/slack-requester"
APPROVER_ANNOTATION = f"{GROUP}/slack-approver"
"""Slack users."""
LANGUAGE_ANNOTATION = f"{GROUP}/slack-language"
POSTED_ANNOTATION = f"{GROUP}/slack-told"
"""The milestones that are in the thread, with commas between them."""

LINKED = "linked"
"""The link is in the thread in which the form was opened."""
CAPTURED = "captured"
COMPLETE = "complete"
FAILED = "failed"
DELETED = "deleted"
FAILURE = "failure"
"""That one pod of several has failed; that all have ended is another line."""
RULED = "ruled"
"""A rule has asked for it, and nobody."""
ISOLATED = "isolated"
"""It is known whether the pod is cut off the network."""
RELEASED = "released"
POD_DELETED = "pod-deleted"
"""It is known what became of the pod after its capture."""
ATTEMPT = "attempt-"
LAST = {COMPLETE, FAILED}
"""After one of these nothing more is posted."""
ENDS = LAST | {DELETED}
"""These are shown in the channel, too."""
CONTAINMENT = {ISOLATED, RELEASED, POD_DELETED}
"""These may come after the end, too."""


@dataclass(frozen=True, slots=True)
class ReportState:
    """Where a checkpoint is reported, and which milestones were posted."""

    channel: str = ""
    message: str = ""
    thread: str = ""
    requester: str = ""
    approver: str = ""
    language: str = ""
    pod_uid: str = ""
    """The pod that was approved: the operator captures no other."""
    posted: tuple[str, ...] = ()

    @classmethod
    def of(cls, checkpoint: PodCheckpoint) -> ReportState:
        """Read the annotations."""
        read = checkpoint.metadata.annotations.get
        return cls(
            channel=read(CHANNEL_ANNOTATION, ""),
            message=read(MESSAGE_ANNOTATION, ""),
            thread=read(THREAD_ANNOTATION, ""),
            requester=read(REQUESTER_ANNOTATION, ""),
            approver=read(APPROVER_ANNOTATION, ""),
            language=read(LANGUAGE_ANNOTATION, ""),
            pod_uid=read(EXPECTED_POD_UID_ANNOTATION, ""),
            posted=tuple(one for one in read(POSTED_ANNOTATION, "").split(",") if one),
        )

    def annotations(self) -> dict[str, str]:
        """Return the same as annotations; what is empty is left out."""
        said = {
            CHANNEL_ANNOTATION: self.channel,
            MESSAGE_ANNOTATION: self.message,
            THREAD_ANNOTATION: self.thread,
            REQUESTER_ANNOTATION: self.requester,
            APPROVER_ANNOTATION: self.approver,
            LANGUAGE_ANNOTATION: self.language,
            EXPECTED_POD_UID_ANNOTATION: self.pod_uid,
            POSTED_ANNOTATION: ",".join(self.posted),
        }
        return {name: value for name, value in said.items() if value}


def milestones(checkpoint: PodCheckpoint, *, deleted: bool = False) -> list[str]:
    """Return the milestones reached so far, in order.

    Those that nobody saw are included: an edit of a message is missed, a line in a thread is not.
    """
    status = checkpoint.status
    reached = [RULED] if RULE_LABEL in checkpoint.metadata.labels else []
    isolated = find_condition(status.conditions, ConditionType.ISOLATED)
    # A pod that was released before anybody could read that it was isolated was only released.
    if isolated and isolated.reason != "Released":
        reached.append(ISOLATED)
    reached += [f"{ATTEMPT}{number}" for number in range(1, status.attempt + 1)]
    if checkpoint.captured:
        reached.append(CAPTURED)
    if status.phase is Phase.COMPLETE:
        reached.append(COMPLETE)
    elif status.phase is Phase.FAILED:
        reached.append(FAILED)
    elif deleted:
        reached.append(DELETED)
    if find_condition(status.conditions, ConditionType.POD_DELETED):
        reached.append(POD_DELETED)
    if isolated and isolated.reason == "Released":
        reached.append(RELEASED)
    return reached


def is_over(checkpoint: PodCheckpoint, posted: Collection[str]) -> bool:
    """Return whether all was told: the end, and what became of the pod by now."""
    untold = set(milestones(checkpoint)) - set(posted)
    return bool(LAST & set(posted)) and not CONTAINMENT & untold


def incident_of(checkpoint: PodCheckpoint) -> str:
    """Return the incident that a checkpoint belongs to, or nothing."""
    return checkpoint.spec.incident or checkpoint.metadata.labels.get(INCIDENT_LABEL, "")


def phase_word(checkpoint: PodCheckpoint) -> str:
    """Return what the catalogue calls the phase, without its `state.`."""
    status = checkpoint.status
    if status.phase is None:
        return "Asked"
    if status.phase is Phase.COMPLETE and is_true(status.conditions, ConditionType.PARTIAL):
        return "Partial"
    return str(status.phase)


def condition_text(checkpoint: PodCheckpoint, kind: str) -> tuple[str, str]:
    """Return reason and message of a condition; empty where there is none."""
    found = find_condition(checkpoint.status.conditions, kind)
    return (found.reason, found.message) if found else ("", "")
