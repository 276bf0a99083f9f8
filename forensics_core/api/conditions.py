"""Conditions: what is true of a PodCheckpoint, since when, and why.

They have the shape of `metav1.Condition` plus the seed's `lastProbeTime`. A change is a pure
function of the conditions before it::

    conditions = set_condition(status.conditions, "Captured", True, reason="ManifestFound", now=now)
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from forensics_core._internal.text import printable
from forensics_core.api.order import Model

MESSAGE_LIMIT = 32768
"""Characters, as in `metav1.Condition`."""


def whole_seconds(moment: datetime) -> datetime:
    """Return `moment` in UTC without fractions, as `metav1.Time` has it."""
    return moment.astimezone(UTC).replace(microsecond=0)


def clip(text: object, limit: int) -> object:
    """Make a string fit to be shown, `limit` characters long at most; leave anything else alone.

    A status repeats what nodes and pods say, and people look at it on terminals.
    """
    if not isinstance(text, str):
        return text
    shown = printable(text, limit)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


Time = Annotated[AwareDatetime, AfterValidator(whole_seconds)]
"""An aware time, kept in UTC with whole seconds."""


class ConditionType:
    """The condition types that the operator sets; others may come."""

    CAPTURED = "Captured"
    """The evidence is stored: the pod may be killed."""
    COMPLETE = "Complete"
    """Sealed. Final."""
    FAILED = "Failed"
    """Given up. Final."""
    PARTIAL = "Partial"
    """Complete, but something that was asked for is missing."""
    ISOLATED = "Isolated"
    """The pod is cut off the network. Reasons: Enforced, Unverified, NotPossible, Released."""
    POD_DELETED = "PodDeleted"
    """The pod was deleted after its capture, as `afterCapture` asked for."""


class ConditionStatus(StrEnum):
    """Three-valued truth."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """One aspect of the checkpoint's state."""

    type: Annotated[str, Field(min_length=1, max_length=316, pattern=r"^[A-Za-z][A-Za-z0-9./-]*$")]
    """What this is about, in CamelCase: Captured, Complete, Failed, Partial."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        ),
    ]
    """Why the condition last changed: one CamelCase word, for programs."""
    message: Annotated[
        str,
        BeforeValidator(lambda text: clip(text, MESSAGE_LIMIT)),
        Field(max_length=MESSAGE_LIMIT),
    ]
    """Why the condition last changed, for people; may be empty."""
    last_transition_time: Time
    """When `status` last went from one value to another."""
    last_probe_time: Time | None = None
    """When the operator last looked and found something new."""
    observed_generation: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    """The metadata.generation that this was concluded from."""


def find_condition(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """Return the condition of type `kind`, or None."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: tuple[Condition, ...], kind: str) -> bool:
    """Return whether there is a condition `kind` and its status is True."""
    found = find_condition(conditions, kind)
    return found is not None and found.status is ConditionStatus.TRUE


def set_condition(
    conditions: tuple[Condition, ...],
    kind: str,
    status: bool | None,
    *,
    reason: str,
    now: datetime,
    message: str = "",
    observed_generation: int | None = None,
) -> tuple[Condition, ...]:
    """Return `conditions` with one set; `status` None means Unknown.

    `lastTransitionTime` moves only with the status. Where nothing changes at all the very same
    tuple comes back, so that the caller can tell that there is nothing to write.
    """
    wanted = Condition(
        type=kind,
        status=ConditionStatus("Unknown" if status is None else str(status)),
        reason=reason,
        message=message,
        last_transition_time=now,
        last_probe_time=now,
        observed_generation=observed_generation,
    )
    return merge_condition(conditions, wanted)


def merge_condition(conditions: tuple[Condition, ...], new: Condition) -> tuple[Condition, ...]:
    """Return `conditions` with `new` in the place of the one of its type, or at the end."""
    old = find_condition(conditions, new.type)
    if old is None:
        return (*conditions, new)
    if _same(old, new):
        return conditions
    if old.status is new.status:
        new = new.model_copy(update={"last_transition_time": old.last_transition_time})
    return tuple(new if condition is old else condition for condition in conditions)


def _same(old: Condition, new: Condition) -> bool:
    times = {"last_transition_time", "last_probe_time"}
    return old.model_dump(exclude=times) == new.model_dump(exclude=times)
