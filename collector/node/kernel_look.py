"""A container's terminals and keys: what the kernel's memory has of them.

Most containers have neither: then nothing is loaded into the kernel, and its description not read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.node.abandonable import raise_if_abandoned
from collector.node.kernel_keys import KernelKeys, Key
from collector.node.kernel_objects import KernelObjects
from collector.node.numbers import latest
from collector.node.procfs import host_proc

MAX_KEYS = 256
"""Keys of one container that are kept."""
_TYPES = frozenset({b"user", b"logon", b"big_key", b"encrypted", b"trusted"})
_COUNTED = re.compile(rb" *\d+: +\d+ (\d+)/")


class Terminal(NamedTuple):
    """A terminal that a process has open."""

    pid: int
    where: str
    """The entry of its folder in /proc."""
    link: bytes
    inode: int


@dataclass(slots=True)
class InKernel:
    """What was found."""

    unread: list[tuple[Terminal, bytes]] = field(default_factory=list)
    """Terminals with what nobody has read from them yet, each once."""
    keys: dict[int, Key] = field(default_factory=dict)
    """By their serial numbers."""
    unseen: int = 0
    """Terminals that were not looked into."""
    hidden: int = 0
    """Keys of the machine whose bytes are not in sight, where they could not be looked at."""
    more: int = 0
    """Keys past `MAX_KEYS`, those that were not legible, and those of types that are not read."""
    processes: int = 0
    """Processes whose keyrings were not looked into."""
    why: str = ""
    """Why the kernel's memory could not be read."""


def look(terminals: Sequence[Terminal], pids: Sequence[int]) -> InKernel:
    """Read what there is to be read of these terminals, and of the processes' keys. It blocks."""
    found, keys = InKernel(), _count_keys()
    if not terminals and not keys:
        return found
    try:
        with KernelObjects.opened() as kernel:
            # In a node that is a container itself, its numbers are those of other processes.
            kernel.task(latest(host_proc()))
            _read_terminals(kernel, terminals, found)
            if keys:
                _read_keys(KernelKeys(kernel), pids, found)
    except OSError as error:
        found.unseen, found.hidden, found.why = len(terminals), keys, str(error)
    return found


def _count_keys() -> int:
    """Return how many keys with bytes there are, and keys that this process may not see.

    Who has a key decides whether others see it; but all are counted, for their users.
    """
    listed = total = payloads = 0
    with suppress(OSError):
        with (host_proc() / "keys").open("rb") as lines:
            for line in lines:
                listed += 1
                words = line.split(maxsplit=8)
                payloads += len(words) > 7 and words[7].removesuffix(b":") in _TYPES
        for line in (host_proc() / "key-users").read_bytes().split(b"\n"):
            if match := _COUNTED.match(line):
                total += int(match[1])
    return payloads + max(total - listed, 0)


def _read_terminals(kernel: KernelObjects, terminals: Sequence[Terminal], found: InKernel) -> None:
    seen = set[int]()
    for each in terminals:
        raise_if_abandoned()
        number = os.path.basename(each.where)  # noqa: PTH119 - of /proc, where it is a number
        try:
            place, data = kernel.terminal(each.pid, int(number), each.inode)
        except OSError:
            found.unseen += 1
            continue
        if data and place not in seen:
            found.unread.append((each, data))
        seen.add(place)


def _read_keys(keys: KernelKeys, pids: Sequence[int], found: InKernel) -> None:
    for pid in pids:
        raise_if_abandoned()
        try:
            for key in keys.of(pid):
                if key.serial not in found.keys and len(found.keys) >= MAX_KEYS:
                    found.more += 1
                else:
                    found.keys.setdefault(key.serial, key)
        except OSError:
            # The keyrings of one that has ended went with it.
            found.processes += (host_proc() / str(pid)).exists()
    found.more += len(keys.missed)
