"""The decisions about the pod itself: when it is isolated, let go, deleted. Pure.

None of them keeps a capture from going on: an isolation that still fails after so many seconds is
given up, the capture begins without, and the condition `Isolated` says why.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias

from forensics_core.api.conditions import ConditionType, find_condition
from forensics_core.api.names import ISOLATED_LABEL
from forensics_core.api.podcheckpoint import Phase
from forensics_core.errors import (
    AlreadyExists,
    ApiUnavailable,
    Conflict,
    Forbidden,
    ForensicsError,
    NotFound,
)
from forensics_core.kube.objects import Object
from forensics_core.kube.resources import NETWORK_POLICIES
from forensics_core.operator.actions import Action, BackOff, Expire, RequeueAfter
from forensics_core.operator.containment.actions import (
    DeletePod,
    GiveUpIsolation,
    Isolate,
    LiftIsolation,
    TellDeletion,
    TellRefusal,
)
from forensics_core.operator.containment.conditions import (
    deletion_due,
    in_force,
    isolation_due,
    refused_before,
    release_due,
)
from forensics_core.operator.containment.enforcement import NamespaceSurroundings
from forensics_core.operator.containment.labels import LabelRemoval, listed, plan_label_removal
from forensics_core.operator.containment.policy import (
    build_policy,
    cuts_off,
    isolated_for,
    isolating_patch,
    policy_name,
    removed_labels,
    short_uid,
)
from forensics_core.operator.observed import Failure, Look, Observed
from forensics_core.operator.settings import Settings

_NextStep: TypeAlias = Action | Look

OVERLAY = "deploy/overlays/containment"
_MIRROR = "kubernetes.io/config.mirror"
"""On pods that a kubelet makes by itself, which the API only mirrors."""
_ENDED = frozenset({"Succeeded", "Failed"})


def isolate_first(observed: Observed, settings: Settings) -> _NextStep | None:
    """Return what isolates the pod, or says why it is not; None where nothing is to be done."""
    checkpoint = observed.checkpoint
    if not isolation_due(checkpoint):
        return None
    if observed.pod is None:
        return Look.POD
    pod = observed.pod.pod
    why = obstacle(observed, pod)
    if why or pod is None:
        return GiveUpIsolation(why)
    if observed.surroundings is None:
        return Look.SURROUNDINGS
    other = isolated_for(pod)
    if other != short_uid(checkpoint) and _is_in_force(other, observed.surroundings):
        return GiveUpIsolation(
            f"The pod is isolated already, for the checkpoint whose UID begins with {other}."
        )
    return _isolate(observed, pod, observed.surroundings, isolate_by(observed, settings))


def _isolate(
    observed: Observed, pod: Object, around: NamespaceSurroundings, until: datetime | None
) -> Isolate:
    checkpoint = observed.checkpoint
    labels = pod["metadata"].get("labels") or {}
    # Ours selects a label that nobody else knows of.
    others = [one for one in around.policies if _name(one) != policy_name(checkpoint)]
    added = {ISOLATED_LABEL: short_uid(checkpoint)}
    removal = plan_label_removal(labels, around.services, around.controller, others, added=added)
    return Isolate(
        policy=build_policy(checkpoint, pod),
        patch=isolating_patch(checkpoint, pod, removal.removed),
        enforced=around.enforcement.enforced and not removal.still_permitting,
        message=_isolated_message(policy_name(checkpoint), removal, around),
        until=until,
    )


def _isolated_message(policy: str, left: LabelRemoval, around: NamespaceSurroundings) -> str:
    """Return what was done, and whatever stands against it, in words."""
    said = [f"The NetworkPolicy {policy} lets nothing in and nothing out"]
    said.append(around.enforcement.message)
    if left.still_permitting:
        names = listed(left.still_permitting)
        said.append(f"other policies select the pod all the same and let traffic through: {names}")
    if left.services:
        said.append(f"the pod has left the Services {listed(left.services)}")
    if around.controller is not None:
        said.append(_replacement(around.controller, still=left.still_controlled))
    said += around.gaps
    return "; ".join(said) + "."


def _replacement(controller: Object, *, still: bool) -> str:
    """Return what becomes of the pod's place, which depends on what controls it."""
    kind, name = controller["kind"], controller["metadata"]["name"]
    if still:
        return f"the {kind} {name} selects it all the same, and does not replace it"
    if kind == "StatefulSet":
        # The name is part of the identity: a second pod of that name cannot be.
        return f"the StatefulSet {name} replaces it once it is deleted: its name is taken"
    return f"the {kind} {name} replaces it"


def obstacle(observed: Observed, pod: Object | None) -> str:
    """Return why no policy can isolate a pod, or nothing."""
    checkpoint = observed.checkpoint
    if pod is None:
        return "The pod is gone."
    if pod["metadata"]["uid"] != checkpoint.status.pod_uid:
        return "The pod was replaced by another one of its name."
    if pod["spec"].get("hostNetwork"):
        return "The pod is in the host's network, which no network policy reaches."
    if _is_static(pod):
        return "The pod is a static one: its labels are its node's."
    if pod.get("status", {}).get("phase") in _ENDED:
        return "The pod has ended."
    return ""


def _is_static(pod: Object) -> bool:
    """Whether it is its node's own; an annotation alone can be of whoever made the pod.

    Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
    """
    metadata = pod["metadata"]
    owners = metadata.get("ownerReferences") or []
    return _MIRROR in (metadata.get("annotations") or {}) and any(
        owner["kind"] == "Node" for owner in owners
    )


def _is_in_force(uid: str, around: NamespaceSurroundings) -> bool:
    """Whether a policy isolates a pod whose label says so: anybody can have written a label."""
    if any(NETWORK_POLICIES.plural in gap for gap in around.gaps):
        return bool(uid)
    return bool(uid) and any(cuts_off(policy, uid) for policy in around.policies)


def isolate_by(observed: Observed, settings: Settings) -> datetime | None:
    """Return when the capture goes on without; None while it waits for something else anyway."""
    checkpoint = observed.checkpoint
    if checkpoint.status.phase is not Phase.CAPTURING:
        return None
    told = find_condition(checkpoint.status.conditions, ConditionType.CAPTURED)
    began = told.last_probe_time if told else None
    return (began or observed.now) + settings.timings.isolation


def release_first(observed: Observed) -> _NextStep | None:
    """Return what lifts an isolation that is not wanted any more, or None.

    While a capture is under way it is tried once: then the capture goes on, and it is tried again
    after its end for as long as it takes.
    """
    checkpoint = observed.checkpoint
    if not release_due(checkpoint):
        return None
    if not checkpoint.finished and refused_before(checkpoint):
        return None
    return _lift(observed)


def _lift(observed: Observed) -> _NextStep:
    if observed.pod is None:
        return Look.POD
    checkpoint, pod = observed.checkpoint, observed.pod.pod
    uid = checkpoint.status.pod_uid
    if pod is None or pod["metadata"]["uid"] != uid:
        return LiftIsolation("The pod is gone; nothing is isolated any more.")
    there = pod["metadata"].get("labels") or {}
    lost = [key for key in removed_labels(pod) if key in there]
    said = "The pod is released"
    if lost:
        said += f"; labels that were set meanwhile stay as they are: {listed(sorted(lost))}"
    return LiftIsolation(f"{said}.")


def before_deletion(observed: Observed) -> _NextStep | None:
    """Return what is left to do about the pod before the checkpoint itself goes, or None.

    What is in force stays so: a pod must not get back to the network because somebody clears up.
    """
    checkpoint = observed.checkpoint
    # A crash may have come between the isolation and the word of it.
    unsaid = isolation_due(checkpoint) and bool(checkpoint.status.pod_uid)
    asked = release_due(checkpoint) and not refused_before(checkpoint)
    return _lift(observed) if asked or unsaid else None


def finished(observed: Observed, settings: Settings) -> _NextStep:
    """Do what is left to do about the pod; then wait for the end of the time to live, if any."""
    checkpoint = observed.checkpoint
    if step := release_first(observed):
        return step
    if deletion_due(checkpoint):
        return DeletePod(checkpoint.status.pod_uid)
    lifetime = checkpoint.spec.ttl_seconds_after_finished
    if lifetime is None or checkpoint.status.completion_time is None:
        return RequeueAfter()
    end = checkpoint.status.completion_time + timedelta(seconds=lifetime)
    if observed.now < end:
        return RequeueAfter(end)
    return _keeps_record(observed, settings) or Expire()


def _keeps_record(observed: Observed, settings: Settings) -> _NextStep | None:
    """Return what puts off the end of a checkpoint's time to live, or None.

    While a pod is isolated somebody has to be able to release it.
    """
    checkpoint = observed.checkpoint
    if not in_force(checkpoint):
        return None
    if observed.pod is None:
        return Look.POD
    pod = observed.pod.pod
    if pod is None or pod["metadata"]["uid"] != checkpoint.status.pod_uid:
        return None
    return RequeueAfter(observed.now + settings.timings.isolated_recheck)


def after_failure(observed: Observed, failure: Failure) -> _NextStep | None:
    """Decide on what an action of containment met; None for all other actions."""
    match failure.action:
        case Isolate(until=until):
            return _not_isolated(observed, failure.error, until)
        case LiftIsolation():
            return _not_lifted(observed, failure.error)
        case DeletePod():
            return _not_deleted(failure.error)
        case _:
            return None


def _not_isolated(observed: Observed, error: ForensicsError, until: datetime | None) -> _NextStep:
    # One that could not be tried in time, for want of an operator, is tried once all the same.
    late = until is not None and observed.now >= until
    if _passes(error) and not late:
        return BackOff(error)
    return GiveUpIsolation(_cause(error))


def _not_lifted(observed: Observed, error: ForensicsError) -> _NextStep:
    checkpoint = observed.checkpoint
    leaving = checkpoint.metadata.deletion_timestamp is not None
    if _passes(error) or (checkpoint.finished and not leaving):
        return BackOff(error)
    return TellRefusal(f"It could not be lifted: {_cause(error)}")


def _not_deleted(error: ForensicsError) -> _NextStep:
    if isinstance(error, NotFound | Conflict):
        return TellDeletion(True, "Gone", "The pod was gone already.")
    if isinstance(error, ApiUnavailable):
        return BackOff(error)
    return TellDeletion(False, type(error).__name__, f"The pod is kept: {_cause(error)}")


def _passes(error: ForensicsError) -> bool:
    """Whether another look, or another try, may well do."""
    if isinstance(error, AlreadyExists):
        return False
    return isinstance(error, ApiUnavailable | Conflict | NotFound)


def _cause(error: ForensicsError) -> str:
    """Return an error in words, and for a right that is missing what gives it."""
    if isinstance(error, Forbidden):
        return f"{error.message.rstrip('.')}. The overlay {OVERLAY} gives the operator that right."
    return str(error)


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])
