"""What an update may change: the rules that hold whichever verb brings it."""

from __future__ import annotations

from forensics_loopback.kinds.objects import Obj, clone, is_deleting, lookup, metadata, namespace_of
from forensics_loopback.kinds.resources import RequestTarget, ServedResource
from forensics_loopback.kinds.status import ApiError, Cause, bad_request, invalid

_KEPT = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)


def carry_over(target: RequestTarget, current: Obj, new: Obj) -> Obj:
    """What the caller cannot change through this URL stays as it is."""
    resource, meta, before = target.resource, metadata(new), metadata(current)
    for key in _KEPT:
        meta.pop(key, None)
        if key in before:
            meta[key] = before[key]
    if resource.namespaced:
        meta["namespace"] = namespace_of(current)
    if not resource.status:
        return new
    if target.subresource == "status":
        kept = {k: clone(v) for k, v in current.items() if k != "status"}
        kept["metadata"]["managedFields"] = meta.get("managedFields", [])
        return {**kept, "status": new["status"]} if "status" in new else kept
    new.pop("status", None)
    return {**new, "status": clone(current["status"])} if "status" in current else new


def applied_part(target: RequestTarget, body: Obj) -> Obj:
    """The part of an applied configuration that this URL takes; raises 400 for another name."""
    wanted: Obj = clone(body)
    meta = wanted.setdefault("metadata", {})
    if meta.get("name", target.name) != target.name:
        raise bad_request(f"metadata.name must be {target.name!r}, as in the URL")
    meta.pop("managedFields", None)
    if not target.resource.status:
        return wanted
    if target.subresource == "status":
        kept = ("apiVersion", "kind", "status")
        return {**{k: wanted[k] for k in kept if k in wanted}, "metadata": {}}
    return {key: value for key, value in wanted.items() if key != "status"}


def immutable(resource: ServedResource, obj: Obj, old: Obj | None) -> list[Cause]:
    """What an update changed and may not."""
    if old is None or resource.qualified != "jobs.batch":
        return []
    if lookup(obj, "spec.template.spec") == lookup(old, "spec.template.spec"):
        return []
    return [Cause("spec.template", "Invalid value: field is immutable")]


def check_finalizers(target: RequestTarget, current: Obj, new: Obj) -> None:
    """Raise 422 where a finalizer is added to an object that is being deleted."""
    before = metadata(current).get("finalizers") or []
    added = [f for f in metadata(new).get("finalizers") or [] if f not in before]
    if is_deleting(current) and added:
        listed = ", ".join(f'"{name}"' for name in added)
        text = (
            "Forbidden: no new finalizers can be added if the object is being deleted, found new "
            f"finalizers []string{{{listed}}}"
        )
        cause = Cause("metadata.finalizers", text, "FieldValueForbidden")
        # Custom resources are checked twice in this respect, and it shows.
        causes = [cause, cause] if target.resource.custom else [cause]
        raise invalid(target.resource, target.name, causes)


def without_managers(obj: Obj) -> Obj:
    """The object without what every write changes: managed fields and version."""
    meta = {k: v for k, v in metadata(obj).items() if k not in {"managedFields", "resourceVersion"}}
    return {**obj, "metadata": meta}


def generation_part(resource: ServedResource, obj: Obj) -> Obj:
    """What the generation counts the changes of: all but metadata and status."""
    ignored = {"metadata", "apiVersion", "kind", "status"}
    return {key: value for key, value in obj.items() if key not in ignored}


def manager_required() -> ApiError:
    """422: a server-side apply that does not say whose it is."""
    text = "Required value: is required for apply patch"
    cause = {"reason": "FieldValueRequired", "message": text, "field": "fieldManager"}
    details: Obj = {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause]}
    message = f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: {text}'
    return ApiError(422, "Invalid", message, details)
