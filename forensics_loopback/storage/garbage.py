"""The garbage collector: what owners leave behind goes, or is set free; namespaces are emptied."""

from __future__ import annotations

from collections import defaultdict

import anyio

from forensics_loopback.kinds.objects import (
    Obj,
    is_deleting,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)
from forensics_loopback.kinds.pods import untrack
from forensics_loopback.kinds.resources import RequestTarget
from forensics_loopback.storage.deletion import FOREGROUND, ORPHAN, delete
from forensics_loopback.storage.operations import Operations
from forensics_loopback.storage.store import StoredChange


class GarbageCollector:
    """Follows owner references. Work is a set of UIDs: repeated changes cost one look."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._store = operations.store
        self._dependents: dict[str, set[str]] = defaultdict(set)
        self._pending: dict[str, None] = {}
        self._wake = anyio.Event()
        self._store.listeners.append(self._note)

    def _note(self, change: StoredChange) -> None:
        obj, uid = change.object, uid_of(change.object)
        owners = [ref["uid"] for ref in metadata(obj).get("ownerReferences") or ()]
        if change.type == "DELETED":
            todo = [*self._dependents.pop(uid, ()), *owners]
            for owner in owners:
                self._dependents[owner].discard(uid)
            todo += [uid_of(ns) for ns in self._store.objects("namespaces") if is_deleting(ns)]
        else:
            for owner in owners:
                self._dependents[owner].add(uid)
            todo = [uid] if owners or is_deleting(obj) else []
        if todo:
            self._pending.update(dict.fromkeys(todo))
            self._wake.set()

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._pending:
                self._collect(next(iter(self._pending)))
                await anyio.lowlevel.checkpoint()

    def _collect(self, uid: str) -> None:
        del self._pending[uid]
        found = self._store.by_uid(uid)
        if found is None:
            return
        key, obj = found
        finalizers = metadata(obj).get("finalizers") or []
        if is_deleting(obj) and ORPHAN in finalizers:
            self._orphan(key, obj)
        elif is_deleting(obj) and FOREGROUND in finalizers:
            self._delete_dependents_first(key, obj)
        elif key == "namespaces" and is_deleting(obj):
            self._empty(obj)
        elif not is_deleting(obj):
            self._delete_if_abandoned(key, obj)

    def _delete_if_abandoned(self, key: str, obj: Obj) -> None:
        owners = metadata(obj).get("ownerReferences") or ()
        if owners and not any(self._store.by_uid(ref["uid"]) for ref in owners):
            self._delete(key, obj, "Background")

    def _delete(self, key: str, obj: Obj, policy: str) -> None:
        resource = self._operations.registry.named(key)
        target = RequestTarget(resource, namespace_of(obj), name_of(obj))
        delete(self._operations, target, {"propagationPolicy": policy})

    def _children(self, uid: str) -> list[tuple[str, Obj]]:
        found = [self._store.by_uid(child) for child in list(self._dependents.get(uid, ()))]
        return [child for child in found if child is not None]

    def _orphan(self, key: str, obj: Obj) -> None:
        def free(child: Obj) -> None:
            refs = metadata(child).get("ownerReferences") or []
            metadata(child)["ownerReferences"] = [r for r in refs if r["uid"] != uid_of(obj)]
            if not metadata(child)["ownerReferences"]:
                del metadata(child)["ownerReferences"]
            # Nobody is left to count an orphaned pod.
            untrack(child)

        for child_key, child in self._children(uid_of(obj)):
            self._operations.amend(child_key, child, free)
        self._dependents.pop(uid_of(obj), None)
        self._finish(key, obj, ORPHAN)

    def _delete_dependents_first(self, key: str, obj: Obj) -> None:
        waiting = False
        for child_key, child in self._children(uid_of(obj)):
            refs = metadata(child).get("ownerReferences") or ()
            if any(r["uid"] == uid_of(obj) and r.get("blockOwnerDeletion") for r in refs):
                waiting = True
                self._delete(child_key, child, "Foreground")
        if not waiting:
            self._finish(key, obj, FOREGROUND)

    def _finish(self, key: str, obj: Obj, finalizer: str) -> None:
        def done(owner: Obj) -> None:
            left = [f for f in metadata(owner).get("finalizers") or () if f != finalizer]
            metadata(owner)["finalizers"] = left
            if not left:
                del metadata(owner)["finalizers"]

        self._operations.amend(key, obj, done)

    def _empty(self, namespace: Obj) -> None:
        name, left = name_of(namespace), False
        for key in self._store.keys():  # noqa: SIM118 # a store is no dict
            for obj in self._store.objects(key, name):
                left = True
                if not is_deleting(obj):
                    self._delete(key, obj, "Background")
        if left and any(self._store.objects(key, name) for key in self._store.keys()):  # noqa: SIM118
            return
        self._store.remove("namespaces", namespace)
