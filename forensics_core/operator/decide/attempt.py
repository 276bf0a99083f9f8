"""The decision about one attempt: how it begins, and what becomes of what it left. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.operator.actions import (
    NO_ATTEMPT,
    Action,
    AttemptOver,
    BackOff,
    Fail,
    Finish,
    SetCaptured,
    StartAttempt,
    Thaw,
    Wait,
)
from forensics_core.operator.attempt.pods import (
    JobOutcome,
    node_of,
    outcome,
)
from forensics_core.operator.containment.conditions import isolation_due
from forensics_core.operator.decide.checks import (
    NotYet,
    Refusal,
    check,
    inside_another,
)
from forensics_core.operator.decide.turn import has_turn
from forensics_core.operator.evidence.manifest import INTERRUPTED, NOTHING, BundleFacts
from forensics_core.operator.observed import (
    Absent,
    Contradicting,
    Foreign,
    Good,
    Interrupted,
    Look,
    Observed,
    ObservedSeal,
    StoredOrder,
    Unchecked,
    Unreachable,
    Unreadable,
)
from forensics_core.operator.settings import Settings
from forensics_core.operator.status import is_of, waiting_since

NextStep: TypeAlias = Action | Look

UNREACHABLE = "DestinationUnreachable"
REPLACED = "the manifest is not the one that was found first"
ORDER_LOST = "The work order is gone, so the manifest cannot be checked against it."
MAX_SHOWN = 5
"""Differences between manifest and order that a message lists."""


def start(
    observed: Observed, settings: Settings, attempt: int, over: AttemptOver = NO_ATTEMPT
) -> NextStep:
    """Begin an attempt if the pod can be captured now; else wait, or refuse."""
    if observed.pod is None:
        return Look.POD
    pod, node = observed.pod.pod, observed.pod.node
    verdict = check(observed.checkpoint, pod, node, settings)
    # Later attempts go to the same folder: it was free before the first one.
    if verdict is None and not observed.checkpoint.status.attempt:
        if observed.destination is None:
            return Look.DESTINATION
        if isinstance(observed.destination, Unreachable):
            error = observed.destination.error
            return Wait(attempt, pod or {}, UNREACHABLE, str(error), error=error, over=over)
        if observed.destination.inside_bundle:
            verdict = _inside_another(observed.checkpoint, settings)
    if verdict is not None:
        return _not_now(observed, settings, attempt, verdict, over)
    if not has_place(observed, settings):
        return _wait_for_place(observed, settings, attempt, over)
    return StartAttempt(attempt, pod or {}, over, isolate=isolation_due(observed.checkpoint))


def has_place(observed: Observed, settings: Settings) -> bool:
    """Whether it is this checkpoint's turn on its pod's node."""
    free = settings.captures_per_node - observed.busy
    aging = settings.timings.aging
    return has_turn(observed.own_wait, observed.line, free, observed.now, aging)


def _not_now(
    observed: Observed,
    settings: Settings,
    attempt: int,
    verdict: Refusal | NotYet,
    over: AttemptOver,
) -> NextStep:
    if isinstance(verdict, Refusal):
        return fail(observed, settings, verdict.reason, verdict.message, over)
    return _wait_for_pod(observed, settings, attempt, verdict, over)


def _inside_another(checkpoint: PodCheckpoint, settings: Settings) -> Refusal:
    destination = settings.destination_of(checkpoint)
    return inside_another(f"{destination.rstrip('/')}/{checkpoint.spec.subpath}")


def _wait_for_pod(
    observed: Observed, settings: Settings, attempt: int, why: NotYet, over: AttemptOver
) -> NextStep:
    """Wait for a pod or its node; give up on one that takes too long."""
    since = waiting_since(observed.checkpoint, why.reason, observed.now)
    waited = (observed.now - since).total_seconds()
    if waited > settings.pod_wait_seconds:
        message = f"{why.message} Waited {waited:.0f} s for it."
        return fail(observed, settings, why.reason, message, over)
    return Wait(
        attempt,
        (observed.pod and observed.pod.pod) or {},
        why.reason,
        why.message,
        store_context=why.capturable,
        until=observed.now + settings.timings.look_again,
        over=over,
    )


def _wait_for_place(
    observed: Observed, settings: Settings, attempt: int, over: AttemptOver
) -> NextStep:
    pod = (observed.pod and observed.pod.pod) or {}
    node = node_of(pod)
    return Wait(
        attempt,
        pod,
        "NodeBusy",
        f"Another pod of the node '{node}' is being captured.",
        node=node,
        store_context=True,
        until=observed.last_moment(settings),
        over=over,
    )


def collect(observed: Observed, settings: Settings, *, retry: bool) -> NextStep:
    """Take what an attempt left; the manifest is the result, or its absence."""
    match observed.manifest:
        case None:
            return Look.MANIFEST
        case Absent():
            return _nothing_left(observed, settings, retry=retry)
        case Unreadable(message):
            return fail(observed, settings, "ManifestUnreadable", message)
        case Interrupted(evidence) | Unchecked(evidence) if retry and evidence.interrupted:
            return _after_interruption(observed, settings)
        case Interrupted(differences=()) as left:
            return _take_best(observed, settings, left)
        case found:
            return judge(observed, settings, found)


def judge(observed: Observed, settings: Settings, found: object) -> NextStep:
    """Decide on a manifest that is there and legible."""
    match found:
        case Unreachable(error):
            return BackOff(error)
        case Foreign():
            return _refuse(observed, settings, (REPLACED,))
        case Contradicting(differences) | Interrupted(differences=(_, *_) as differences):
            return _refuse(observed, settings, differences)
        case Good(evidence, manifest) | Interrupted(evidence, manifest):
            return _finish(observed, settings, evidence, manifest)
        case _:
            return fail(observed, settings, "OrderLost", ORDER_LOST)


def _refuse(observed: Observed, settings: Settings, wrong: tuple[str, ...]) -> NextStep:
    more = f"; and {len(wrong) - MAX_SHOWN} more" if wrong[MAX_SHOWN:] else ""
    message = f"The evidence is not as ordered: {'; '.join(wrong[:MAX_SHOWN])}{more}."
    reason = refusal(wrong, cancelled=observed.checkpoint.spec.cancel)
    return fail(observed, settings, reason, message)


def refusal(wrong: Sequence[str], *, cancelled: bool) -> str:
    """Return the reason of a checkpoint whose evidence is not taken for what is `wrong`."""
    if not wrong[0].startswith(NOTHING):
        return "NotSealed"
    return "Cancelled" if cancelled else "NothingCaptured"


def _finish(
    observed: Observed, settings: Settings, evidence: BundleFacts, manifest: bytes
) -> NextStep:
    if observed.signing_key is None:
        return Look.SIGNING_KEY
    findings = wants_findings(observed, settings, evidence)
    return Finish(evidence, manifest, seal=observed.signing_key, findings=findings)


def sealing(observed: Observed, settings: Settings) -> NextStep:
    """Seal what was compared before, unless it has become something else since."""
    match observed.manifest:
        case None:
            return Look.MANIFEST
        case Absent():
            message = "The manifest is not stored any more."
            return fail(observed, settings, "ManifestLost", message)
        case Unreadable(message):
            return fail(observed, settings, "ManifestLost", f"It was replaced: {message}")
        case Unchecked() as found:
            return _without_order(observed, settings, found)
        case found:
            return judge(observed, settings, found)


def _without_order(observed: Observed, settings: Settings, found: Unchecked) -> NextStep:
    """Go on after a crash between the order's end and the status: our seal says it was checked.

    It has to be over the manifest of this very attempt: whoever can write there may have put a
    sealed bundle of another one in its place. Without it nothing can be said any more.
    """
    if is_of(observed.checkpoint, found.evidence):
        if observed.seal is None:
            return Look.SEAL
        if observed.seal is ObservedSeal.OURS:
            findings = wants_findings(observed, settings, found.evidence)
            return Finish(found.evidence, found.manifest, seal=True, findings=findings)
    return fail(observed, settings, "OrderLost", ORDER_LOST)


def wants_findings(observed: Observed, settings: Settings, evidence: BundleFacts) -> bool:
    """Whether to look for findings: where there is something to look at, and anybody to tell."""
    deleted = observed.checkpoint.metadata.deletion_timestamp is not None
    return settings.findings and not deleted and bool(evidence.documents.objects)


def _nothing_left(observed: Observed, settings: Settings, *, retry: bool) -> NextStep:
    # Before the next attempt: it would find the containers paused, and leave them so.
    if thaw := thaw_first(observed):
        return thaw
    if observed.checkpoint.spec.cancel:
        message = "Cancelled before anything was stored whole."
        return fail(observed, settings, "Cancelled", message)
    ended = outcome(observed.job, observed.collector_pod)
    return without_evidence(observed, settings, ended, retry=retry and ended.retry)


def thaw_first(observed: Observed) -> NextStep | None:
    """Return what resumes containers that may stand still, if the attempt was to pause any.

    A collector resumes what it paused, and its supervisor does when it is killed. Where their whole
    pod was killed, neither can.
    """
    checkpoint = observed.checkpoint
    if observed.thawed or not (checkpoint.spec.pause and checkpoint.status.job_name):
        return None
    if observed.order is None:
        return Look.ORDER
    if not isinstance(observed.order, StoredOrder):
        return None
    return Thaw(tuple(target.container_id for target in observed.order.order.targets))


def without_evidence(
    observed: Observed, settings: Settings, ended: JobOutcome, *, retry: bool
) -> NextStep:
    """Begin another attempt, or give up."""
    attempts, stop = observed.checkpoint.status.attempt, observed.may_run
    if retry:
        over = AttemptOver(stop, f"{ended.reason}: {ended.message}")
        return start(observed, settings, attempts + 1, over)
    message = f"{ended.message} (attempt {attempts} of {settings.max_attempts})"
    return fail(observed, settings, ended.reason, message, AttemptOver(stop))


def _after_interruption(observed: Observed, settings: Settings) -> NextStep:
    """Capture the pod again if it is still there: another attempt may have more."""
    status = observed.checkpoint.status
    if observed.pod is None:
        return Look.POD
    pod = observed.pod.pod
    if pod is None or pod["metadata"]["uid"] != status.pod_uid:
        return collect(observed, settings, retry=False)
    why = f"{INTERRUPTED}: the collector was stopped. What it had is stored at {status.location}"
    return start(observed, settings, status.attempt + 1, AttemptOver(why=why))


def _take_best(observed: Observed, settings: Settings, own: Interrupted) -> NextStep:
    """Take the best of what this attempt and earlier ones have stored."""
    # There is nothing that it could be compared with.
    if observed.checkpoint.status.attempt == 1:
        return _finish(observed, settings, own.evidence, own.manifest)
    if observed.bundles is None:
        return Look.BUNDLES
    if isinstance(observed.bundles, Unreachable):
        return BackOff(observed.bundles.error)
    return SetCaptured(_best([own.evidence, *observed.bundles]))


def _best(bundles: list[BundleFacts]) -> BundleFacts:
    """Return the most complete of several bundles, and of those the latest."""
    return min(bundles, key=lambda bundle: (bundle.gaps, -bundle.attempt))


def fail(
    observed: Observed,
    settings: Settings,
    reason: str,
    message: str,
    over: AttemptOver = NO_ATTEMPT,
) -> NextStep:
    """Give up, for good, unless an attempt left something to take after all."""
    checkpoint = observed.checkpoint
    # What was captured, and cannot be sealed now, is taken back: another bundle in its place would
    # be one that nobody was told of.
    if checkpoint.captured or not checkpoint.status.attempt:
        return Fail(reason, message, over)
    bundles = [*observed.own]
    if observed.bundles is None:
        return Look.BUNDLES
    if not isinstance(observed.bundles, Unreachable):
        bundles += observed.bundles
    # A store that is away may still have evidence; but no checkpoint waits for it for ever.
    elif not observed.overdue(settings):
        return BackOff(observed.bundles.error)
    return SetCaptured(_best(bundles), over) if bundles else Fail(reason, message, over)
