"""Objects, their versions, and the history that watches are served from.

There is one revision counter for everything, as etcd has it. An object put into the store belongs
to it: neither the giver nor a reader may change it afterwards.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import anyio

from forensics_loopback.kinds.objects import Obj, clone, metadata, name_of, namespace_of, uid_of

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]
FIRST_REVISION = 1000
"""Every revision up to here counts as compacted, so that `resourceVersion=1` is too old."""


@dataclass(frozen=True, slots=True)
class StoredChange:
    """One committed write."""

    type: ChangeType
    key: str
    """The resource's qualified name: `jobs.batch`."""
    object: Obj
    previous: Obj | None
    revision: int


@dataclass(slots=True)
class _ChangeLog:
    """The changes of one resource; `dropped` older ones are forgotten."""

    changes: list[StoredChange] = field(default_factory=list)
    dropped: int = 0
    oldest: int = FIRST_REVISION
    pulse: anyio.Event = field(default_factory=anyio.Event)


class Store:
    """The etcd of the loopback cluster: in memory, synchronous, one revision a write."""

    def __init__(self, *, history: int = 10_000) -> None:
        """`history` is how many changes of each resource are kept for watches."""
        self.revision = FIRST_REVISION
        self.listeners: list[Callable[[StoredChange], None]] = []
        self._history = history
        self._touched: dict[str, anyio.Event] = {}
        self._floor = FIRST_REVISION
        self._objects: dict[str, dict[tuple[str, str], Obj]] = defaultdict(dict)
        self._uids: dict[str, tuple[str, Obj]] = {}
        self._logs: dict[str, _ChangeLog] = defaultdict(_ChangeLog)

    def get(self, key: str, namespace: str, name: str) -> Obj | None:
        """The object, not to be changed, or None."""
        return self._objects[key].get((namespace, name))

    def by_uid(self, uid: str) -> tuple[str, Obj] | None:
        """The resource's key and the object that has this UID, or None."""
        return self._uids.get(uid)

    def objects(self, key: str, namespace: str = "") -> list[Obj]:
        """The objects in one namespace, or in all, ordered by namespace and name."""
        found = self._objects[key]
        names = sorted(found if not namespace else (k for k in found if k[0] == namespace))
        return [found[name] for name in names]

    def keys(self) -> list[str]:
        """The resources that have, or had, objects."""
        return list(self._objects)

    def put(self, key: str, obj: Obj) -> Obj:
        """Commit an object, new or changed; it gets its resourceVersion here."""
        place = (namespace_of(obj), name_of(obj))
        previous = self._objects[key].get(place)
        metadata(obj)["resourceVersion"] = str(self.revision + 1)
        self._objects[key][place] = obj
        self._uids[uid_of(obj)] = (key, obj)
        self._commit("MODIFIED" if previous else "ADDED", key, obj, previous)
        return obj

    def remove(self, key: str, obj: Obj) -> Obj:
        """Commit a removal; returns the object's last state with the removal's revision."""
        previous = self._objects[key].pop((namespace_of(obj), name_of(obj)))
        self._uids.pop(uid_of(obj), None)
        last = clone(obj)
        metadata(last)["resourceVersion"] = str(self.revision + 1)
        self._commit("DELETED", key, last, previous)
        return last

    def _commit(self, kind: ChangeType, key: str, obj: Obj, previous: Obj | None) -> None:
        self.revision += 1
        change = StoredChange(kind, key, obj, previous, self.revision)
        log = self._logs[key]
        log.changes.append(change)
        if len(log.changes) >= 2 * self._history:
            self._trim(log, self._history)
        for listener in self.listeners:
            listener(change)
        log.pulse.set()
        log.pulse = anyio.Event()
        if waited := self._touched.pop(uid_of(obj), None):
            waited.set()

    def _trim(self, log: _ChangeLog, keep: int) -> None:
        cut = len(log.changes) - keep
        if cut > 0:
            log.oldest = log.changes[cut - 1].revision
            log.dropped += cut
            del log.changes[:cut]

    def expire(self) -> None:
        """Forget all history: whoever resumes a watch from before now is answered 410."""
        self._floor = self.revision
        for log in self._logs.values():
            log.dropped += len(log.changes)
            log.changes.clear()

    def oldest(self, key: str) -> int:
        """The oldest revision that a watch may still start from."""
        return max(self._floor, self._logs[key].oldest)

    def position(self, key: str, revision: int) -> int:
        """Where in the resource's history the first change after `revision` stands."""
        log = self._logs[key]
        return log.dropped + bisect.bisect_right(log.changes, revision, key=lambda c: c.revision)

    def since(self, key: str, position: int) -> list[StoredChange] | None:
        """The changes from a position on, or None where they are forgotten."""
        log = self._logs[key]
        return None if position < log.dropped else log.changes[position - log.dropped :]

    def pulse(self, key: str) -> anyio.Event:
        """Is set with the resource's next change."""
        return self._logs[key].pulse

    def touched(self, uid: str) -> anyio.Event:
        """Is set with the next change of one object."""
        return self._touched.setdefault(uid, anyio.Event())
