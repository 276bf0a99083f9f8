"""DELETE: preconditions, finalizers, propagation, grace periods; namespaces with all they hold."""

from __future__ import annotations

from forensics_loopback.kinds.objects import (
    Obj,
    clone,
    is_deleting,
    lookup,
    metadata,
    now,
    uid_of,
)
from forensics_loopback.kinds.resources import RequestTarget, ServedResource
from forensics_loopback.kinds.status import bad_request, conflict, precondition_failed
from forensics_loopback.storage.operations import Operations

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_POLICIES = {"Foreground": FOREGROUND, "Orphan": ORPHAN, "Background": ""}


def delete(
    operations: Operations, target: RequestTarget, options: Obj | None = None
) -> tuple[Obj, bool]:
    """Delete an object; returns its last state and whether it is gone already.

    `options` are DeleteOptions: `propagationPolicy`, `preconditions`, `gracePeriodSeconds`,
    `dryRun`. Raises 404, 409, or 400 for an unknown policy.
    """
    options = options or {}
    current = operations.get(target)
    _check_preconditions(target, current, options.get("preconditions") or {})
    finalizers = _finalizers(target.resource, current, options)
    if options.get("dryRun"):
        return current, True
    grace = _grace(operations, target.resource, current, options)
    is_namespace = target.resource.qualified == "namespaces"
    if not (finalizers or grace or is_namespace):
        return operations.store.remove(target.resource.qualified, clone(current)), True
    if is_deleting(current) and finalizers == (metadata(current).get("finalizers") or []):
        return current, False
    return _mark(operations, target.resource, clone(current), finalizers, grace), False


def _mark(
    operations: Operations, resource: ServedResource, obj: Obj, finalizers: list[str], grace: int
) -> Obj:
    meta = metadata(obj)
    if not is_deleting(obj):
        # When the grace period will be over, not when the deletion was asked for.
        meta["deletionTimestamp"] = now(grace)
        meta["deletionGracePeriodSeconds"] = grace
        # A pod's generation follows its spec alone.
        if resource.generation and resource.qualified != "pods":
            meta["generation"] = meta.get("generation", 0) + 1
    if finalizers:
        meta["finalizers"] = finalizers
    if resource.qualified == "namespaces":
        obj["status"] = {"phase": "Terminating"}
    return operations.store.put(resource.qualified, obj)


def _finalizers(resource: ServedResource, current: Obj, options: Obj) -> list[str]:
    finalizers = list(metadata(current).get("finalizers") or [])
    # batch/v1 alone has kept the old default.
    default = "Orphan" if resource.qualified == "jobs.batch" else "Background"
    policy = options.get("propagationPolicy") or default
    if policy not in _POLICIES:
        raise bad_request(f'invalid propagationPolicy "{policy}"')
    if _POLICIES[policy] and _POLICIES[policy] not in finalizers:
        finalizers.append(_POLICIES[policy])
    return finalizers


def _grace(operations: Operations, resource: ServedResource, current: Obj, options: Obj) -> int:
    if resource.qualified != "pods" or not operations.graceful(current):
        return 0
    asked = options.get("gracePeriodSeconds")
    return int(
        lookup(current, "spec.terminationGracePeriodSeconds", 30) if asked is None else asked
    )


def _check_preconditions(target: RequestTarget, current: Obj, preconditions: Obj) -> None:
    uid, version = preconditions.get("uid"), preconditions.get("resourceVersion")
    if uid and uid != uid_of(current):
        raise precondition_failed(target.resource, target.name, uid, uid_of(current))
    found = metadata(current)["resourceVersion"]
    if version and version != found:
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the "
            f"ResourceVersion in record ({found}). The object might have been modified"
        )
        raise conflict(target.resource, target.name, why)
