"""Keys that processes have in their keyrings, with their bytes: read in the kernel's memory.

::

    with KernelObjects.opened() as kernel:
        keys = KernelKeys(kernel)
        payloads = [key.payload for key in keys.of(pid)]

Source: include/linux/key.h, include/linux/assoc_array_priv.h, include/keys/user-type.h
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.node.kernel_objects import KernelObjects

MAX_KEYS = 1024
"""Keys and keyrings of one container."""
MAX_PAYLOAD = 32 * 1024
"""Bytes of a key: the kernel takes no more."""
_PAYLOADS = frozenset({b"user", b"logon"})
"""Types of keys that have their bytes as they were given."""
_SLOTS = 16


class Key(NamedTuple):
    """A key that a process can use."""

    serial: int
    kind: str
    description: bytes
    payload: bytes
    pid: int
    """A process that has it."""


@dataclass(slots=True)
class KernelKeys:
    """The keys of the processes of one container; for one thread."""

    kernel: KernelObjects
    most: int = MAX_KEYS
    missed: set[int] = field(default_factory=set)
    """Where those are that were not read: more than `most`, or what is there is not legible."""
    _seen: set[int] = field(default_factory=set)
    """Keys and keyrings that were looked at: processes share them."""
    _creds: set[int] = field(default_factory=set)
    """Credentials that were looked at: most threads share those of their process."""

    def of(self, pid: int) -> Iterator[Key]:
        """Yield the keys in the keyrings of a process and its threads, and of the users that they
        are: those with bytes, and those within them. Raises `OSError`.

        What was looked at before, for another process, does not come again.
        """
        waiting = [*self._first(pid)]
        while waiting:
            key = waiting.pop()
            if key in self._seen:
                continue
            if len(self._seen) >= self.most:
                self.missed.add(key)
                continue
            self._seen.add(key)
            try:
                sort = self.kernel.pointer(key, "key", "type")
                kind = self.kernel.text(self.kernel.pointer(sort, "key_type", "name"))
                if kind == b"keyring":
                    waiting += self._linked(self.kernel.pointer(key, "key", "keys"))
                elif kind in _PAYLOADS:
                    yield self._key(key, kind, pid)
                else:
                    self.missed.add(key)
            except OSError:
                self.missed.add(key)

    def _first(self, pid: int) -> Iterator[int]:
        """Yield the keyrings that the threads of a process begin with."""
        for task in self.kernel.threads(self.kernel.task(pid)):
            cred = self.kernel.pointer(task, "task_struct", "cred")
            if cred not in self._creds:
                self._creds.add(cred)
                yield from self._rings(cred)

    def _rings(self, cred: int) -> Iterator[int]:
        """Yield the keyrings of some credentials."""
        for ring in ("session_keyring", "process_keyring", "thread_keyring"):
            if place := self.kernel.pointer(cred, "cred", ring):
                yield place
        try:
            yield from self._of_user(cred)
        except OSError:
            self.missed.add(cred)

    def _of_user(self, cred: int) -> Iterator[int]:
        """Yield the keyrings of a user, which no other keyring has to lead to.

        In a user namespace of its own all are the container's.
        """
        space = self.kernel.pointer(cred, "cred", "user_ns")
        register = self.kernel.pointer(space, "user_namespace", "user_keyring_register")
        if not register:
            return
        own = self.kernel.pointer(self.kernel.memory.current(), "task_struct", "cred")
        # The machine's own user namespace has the keyrings of everybody's users.
        machines = space == self.kernel.pointer(own, "cred", "user_ns")
        user = self.kernel.pointer(cred, "cred", "user")
        number = self.kernel.memory.word(self.kernel.at(user, "user_struct", "uid"), 4)
        names = {b"_uid.%d" % number, b"_uid_ses.%d" % number}
        for ring in self._linked(self.kernel.pointer(register, "key", "keys")):
            if not machines or self.kernel.text(self._described(ring)) in names:
                yield ring

    def _described(self, key: int) -> int:
        return self.kernel.pointer(key, "key", "description")

    def _key(self, key: int, kind: bytes, pid: int) -> Key:
        serial = self.kernel.memory.word(self.kernel.at(key, "key", "serial"), 4)
        description = self.kernel.text(self._described(key))
        payload = self.kernel.pointer(key, "key", "payload")
        size = self.kernel.memory.word(self.kernel.at(payload, "user_key_payload", "datalen"), 2)
        place = self.kernel.at(payload, "user_key_payload", "data")
        data = self.kernel.memory.read(place, min(size, MAX_PAYLOAD))
        return Key(serial, kind.decode(), description, data, pid)

    def _linked(self, array: int) -> Iterator[int]:
        """Yield the keys of a keyring: leaves of a tree, whose pointers say what they lead to."""
        waiting = [array]
        for _ in range(self.most):
            if not waiting:
                return
            pointer = waiting.pop()
            # Bit 0 is 0 of a leaf and 1 of a part of the tree, of which bit 1 then says whether it
            # is a shortcut. Of a leaf bit 1 says that the key is a keyring.
            kind, place = pointer & 3, pointer & ~3
            if not place:
                continue
            if not kind & 1:
                yield place
            elif kind & 2:
                waiting.append(self.kernel.pointer(place, "assoc_array_shortcut", "next_node"))
            else:
                slots = self.kernel.at(place, "assoc_array_node", "slots")
                waiting += [self.kernel.memory.word(slots + 8 * number) for number in range(_SLOTS)]
        self.missed.update(filter(None, waiting))
