"""The decision about a checkpoint that has its evidence, has ended, or is to go. Pure."""

from __future__ import annotations

from datetime import timedelta

from forensics_core.api.names import FINALIZER
from forensics_core.api.podcheckpoint import Phase
from forensics_core.operator.actions import Expire, Finish, Release, RequeueAfter, StopJob
from forensics_core.operator.attempt.pods import is_being_deleted, terminated
from forensics_core.operator.containment.actions import DeletePod
from forensics_core.operator.containment.conditions import deletion_due
from forensics_core.operator.decide import containment
from forensics_core.operator.decide.attempt import (
    ORDER_LOST,
    NextStep,
    fail,
    judge,
    tell_findings,
    thaw_first,
)
from forensics_core.operator.observed import Absent, Look, Observed, SealSeen, Unchecked, Unreadable
from forensics_core.operator.settings import Settings
from forensics_core.operator.status import is_of


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
        if observed.seal is SealSeen.OURS:
            findings = tell_findings(observed, settings, found.evidence)
            return Finish(found.evidence, found.manifest, seal=True, findings=findings)
    return fail(observed, settings, "OrderLost", ORDER_LOST)


def finished(observed: Observed, settings: Settings) -> NextStep:
    """Do what is left to do about the pod; then wait for the end of the time to live, if any."""
    checkpoint = observed.checkpoint
    if step := containment.release_first(observed):
        return step
    if deletion_due(checkpoint):
        return DeletePod(checkpoint.status.pod_uid)
    lifetime = checkpoint.spec.ttl_seconds_after_finished
    if lifetime is None or checkpoint.status.completion_time is None:
        return RequeueAfter()
    end = checkpoint.status.completion_time + timedelta(seconds=lifetime)
    if observed.now < end:
        return RequeueAfter(end)
    return containment.keeps_record(observed, settings) or Expire()


def deleted(observed: Observed, settings: Settings) -> NextStep:
    """The resource is being deleted: what is captured is sealed, and no child goes on unseen."""
    checkpoint = observed.checkpoint
    if FINALIZER not in checkpoint.metadata.finalizers:
        return RequeueAfter()
    asked = checkpoint.metadata.deletion_timestamp or observed.now
    patient = observed.now < asked + settings.timings.deletion
    if checkpoint.status.phase is Phase.SEALING and patient:
        return sealing(observed, settings)
    job, collector_pod = observed.job, observed.collector_pod
    if job is not None and not is_being_deleted(job):
        return StopJob()
    if collector_pod is not None and terminated(collector_pod) is None and patient:
        return RequeueAfter(asked + settings.timings.deletion)
    if not checkpoint.finished and (thaw := thaw_first(observed)):
        return thaw
    return containment.before_deletion(observed) or Release()
