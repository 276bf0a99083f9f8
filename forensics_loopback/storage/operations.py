"""The verbs of the API on stored objects, without HTTP: what the handlers and the helpers call.

Every function is synchronous and therefore atomic within the event loop.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from forensics_loopback.kinds import pods
from forensics_loopback.kinds.events import to_core
from forensics_loopback.kinds.objects import (
    Obj,
    clone,
    is_deleting,
    lookup,
    metadata,
    name_of,
    namespace_of,
    now,
    uid_of,
)
from forensics_loopback.kinds.resources import Registry, RequestTarget, ServedResource
from forensics_loopback.kinds.status import (
    Cause,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
    unsupported_media,
)
from forensics_loopback.storage import ownership, patch, updates
from forensics_loopback.storage.apply import apply
from forensics_loopback.storage.store import Store, StoredChange
from forensics_loopback.storage.writes import (
    WriteOptions,
    WriteResult,
    admit,
    check_kind,
    give_name,
    schema_of,
)

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Operations:
    """Create, replace, patch and delete, with the checks that the API server makes."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store = store
        self.registry = registry
        self._bound: set[str] = set()
        store.listeners.append(self._forget)

    def _forget(self, change: StoredChange) -> None:
        if change.type == "DELETED":
            self._bound.discard(uid_of(change.object))

    def graceful(self, obj: Obj) -> bool:
        """Whether a kubelet must end what runs in a pod before the pod can go.

        That is so from its binding to its end. Who makes a pod with a node makes all of it: none
        that a test seeds waits for a kubelet.
        """
        return uid_of(obj) in self._bound and not pods.has_ended(obj)

    def get(self, target: RequestTarget) -> Obj:
        """The stored object, not to be changed; raises 404."""
        found = self.store.get(target.resource.qualified, target.namespace, target.name)
        if found is None:
            raise not_found(target.resource, target.name)
        return found

    def create(
        self,
        resource: ServedResource,
        namespace: str,
        body: Obj,
        options: WriteOptions | None = None,
    ) -> WriteResult:
        """Store a new object; raises 404 for its namespace, 409, 422 or 400."""
        options = options or WriteOptions()
        obj = self._incoming(resource, namespace, body)
        give_name(obj, resource)
        metadata(obj).update(uid=str(uuid.uuid4()), creationTimestamp=now())
        if resource.generation:
            metadata(obj)["generation"] = 1
        if resource.custom and resource.status:
            obj.pop("status", None)
        written = admit(resource, obj, None, options)
        if self.store.get(resource.qualified, namespace, name_of(obj)) is not None:
            raise already_exists(resource, name_of(obj))
        if options.manager:
            manager = self._manager(resource, options, "Update", "")
            ownership.record_update(None, obj, manager, schema_of(resource))
        written.created = True
        if not options.dry_run:
            self.store.put(resource.qualified, obj)
        return written

    def _incoming(self, resource: ServedResource, namespace: str, body: Obj) -> Obj:
        check_kind(resource, body)
        given = (body.get("metadata") or {}).get("namespace")
        if given and resource.namespaced and given != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        if resource.namespaced and self.store.get("namespaces", "", namespace) is None:
            found = self.registry.find("", "v1", "namespaces")
            raise not_found(found or resource, namespace)
        obj: Obj = clone(to_core(body) if resource.qualified == "events" else body)
        meta = obj.setdefault("metadata", {})
        for key in ("managedFields", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            meta.pop(key, None)
        if meta.pop("resourceVersion", None):
            raise bad_request("resourceVersion should not be set on objects to be created")
        meta["namespace"] = namespace
        if not resource.namespaced:
            del meta["namespace"]
        return obj

    def replace(
        self, target: RequestTarget, body: Obj, options: WriteOptions | None = None
    ) -> WriteResult:
        """PUT: the whole object, or its status; raises 404, 409 or 422."""
        options = options or WriteOptions()
        current = self.get(target)
        check_kind(target.resource, body)
        resource = target.resource
        new: Obj = clone(to_core(body) if resource.qualified == "events" else body)
        meta = new.setdefault("metadata", {})
        if meta.get("name", target.name) != target.name:
            raise bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL "
                f"({target.name})"
            )
        if "resourceVersion" not in meta and _needs_version(resource):
            text = "Invalid value: 0: must be specified for an update"
            raise invalid(resource, target.name, [Cause("metadata.resourceVersion", text)])
        return self._update(target, current, new, options)

    def patch(
        self,
        target: RequestTarget,
        content_type: str,
        body: Any,
        options: WriteOptions | None = None,
    ) -> WriteResult:
        """PATCH in any of the four ways; raises 404, 409, 415 or 422."""
        options = options or WriteOptions()
        if content_type == APPLY:
            return self._apply(target, body, options)
        # Only the types of built-in kinds say by which key lists are merged.
        if content_type == STRATEGIC and target.resource.custom:
            raise unsupported_media([JSON_PATCH, MERGE, APPLY])
        patched = {MERGE: patch.merge_patch, JSON_PATCH: patch.json_patch}
        patched[STRATEGIC] = patch.strategic_merge
        if content_type not in patched:
            raise unsupported_media([JSON_PATCH, MERGE, STRATEGIC, APPLY])
        current = self.get(target)
        body = (
            to_core(body)
            if target.resource.qualified == "events" and isinstance(body, dict)
            else body
        )
        new: Obj = clone(patched[content_type](current, body))
        return self._update(target, current, new, options)

    def _update(
        self, target: RequestTarget, current: Obj, new: Obj, options: WriteOptions
    ) -> WriteResult:
        self._check_version(target, current, new)
        new = updates.carry_over(target, current, new)
        written = admit(target.resource, new, current, options)
        updates.check_finalizers(target, current, new)
        if options.manager:
            manager = self._manager(target.resource, options, "Update", target.subresource)
            metadata(new)["managedFields"] = metadata(current).get("managedFields", [])
            if updates.without_managers(current) != updates.without_managers(new):
                ownership.record_update(current, new, manager, schema_of(target.resource))
        return self._store_update(target, current, written, options)

    def _check_version(self, target: RequestTarget, current: Obj, new: Obj) -> None:
        meta = metadata(new)
        version = meta.get("resourceVersion")
        if version and version != metadata(current)["resourceVersion"]:
            raise conflict(target.resource, target.name)
        if meta.get("uid", uid_of(current)) != uid_of(current):
            why = (
                f"Precondition failed: UID in precondition: {meta['uid']}, "
                f"UID in object meta: {uid_of(current)}"
            )
            raise conflict(target.resource, target.name, why)

    def _store_update(
        self, target: RequestTarget, current: Obj, written: WriteResult, options: WriteOptions
    ) -> WriteResult:
        new = written.object
        metadata(new)["resourceVersion"] = metadata(current)["resourceVersion"]
        if not metadata(new).get("managedFields"):
            metadata(new).pop("managedFields", None)
        if new == current or options.dry_run:
            return written
        resource = target.resource
        if resource.generation and updates.generation_part(
            resource, new
        ) != updates.generation_part(resource, current):
            metadata(new)["generation"] = metadata(current).get("generation", 0) + 1
        self._commit(resource.qualified, new)
        return written

    def _manager(
        self, resource: ServedResource, options: WriteOptions, operation: str, subresource: str
    ) -> ownership.Manager:
        shown = subresource if subresource == "status" else ""
        return ownership.Manager(options.manager, operation, resource.api_version, shown)

    def _apply(self, target: RequestTarget, body: Any, options: WriteOptions) -> WriteResult:
        resource = target.resource
        if not options.manager:
            raise updates.manager_required()
        if not isinstance(body, dict) or not {"apiVersion", "kind"} <= body.keys():
            raise bad_request("error decoding YAML: an applied object names apiVersion and kind")
        check_kind(resource, body)
        wanted = updates.applied_part(target, body)
        live = self.store.get(resource.qualified, target.namespace, target.name)
        manager = self._manager(resource, options, "Apply", target.subresource)
        rules = schema_of(resource)
        if live is None:
            return self._apply_new(target, wanted, manager, options)
        self._check_version(target, live, {"metadata": body.get("metadata") or {}})
        result = clone(apply(live, wanted, manager, rules, force=options.force))
        written = admit(resource, updates.carry_over(target, live, result), live, options)
        updates.check_finalizers(target, live, written.object)
        return self._store_update(target, live, written, options)

    def _apply_new(
        self, target: RequestTarget, wanted: Obj, manager: ownership.Manager, options: WriteOptions
    ) -> WriteResult:
        if target.subresource:
            raise not_found(target.resource, target.name)
        applied = apply(None, wanted, manager, schema_of(target.resource), force=True)
        entries = applied["metadata"].get("managedFields")
        metadata(applied)["name"] = target.name
        # Who applied what is noted already; as a creation it would be noted a second time.
        silent = WriteOptions(dry_run=True, validation=options.validation)
        written = self.create(target.resource, target.namespace, applied, silent)
        if entries:
            metadata(written.object)["managedFields"] = entries
        if not options.dry_run:
            self.store.put(target.resource.qualified, written.object)
        return written

    def bind(self, target: RequestTarget, node: str, uid: str = "") -> None:
        """Put a pod on a node; raises 404, or 409 where it has one or is another one than `uid`."""
        pod = self.get(target)
        if uid not in {"", uid_of(pod)} or lookup(pod, "spec.nodeName"):
            why = f'pod {name_of(pod)} is already assigned to node "{pod["spec"].get("nodeName")}"'
            raise conflict(target.resource, target.name, why)
        self._bound.add(uid_of(pod))
        self.amend("pods", pod, partial(pods.scheduled, node=node))

    def amend(self, key: str, obj: Obj, change: Callable[[Obj], None]) -> Obj | None:
        """Change an object as the cluster's own controllers do; None where it is gone.

        `change` gets a copy of the present state. Removing the last finalizer of an object that is
        being deleted removes it.
        """
        current = self.store.get(key, namespace_of(obj), name_of(obj))
        if current is None or uid_of(current) != uid_of(obj):
            return None
        new = clone(current)
        change(new)
        unchanged = new == current and not self._may_go(new)
        return current if unchanged else self._commit(key, new)

    def _commit(self, key: str, new: Obj) -> Obj:
        return self.store.remove(key, new) if self._may_go(new) else self.store.put(key, new)

    def _may_go(self, obj: Obj) -> bool:
        return is_deleting(obj) and not metadata(obj).get("finalizers") and not self.graceful(obj)


def _needs_version(resource: ServedResource) -> bool:
    # All other built-in kinds allow an update of whatever version there is.
    return resource.custom or resource.plural == "leases"
