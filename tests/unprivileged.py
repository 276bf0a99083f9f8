"""What the kernel refuses, really refused: work in a thread that has given up a right."""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
SYS_PTRACE, SYS_ADMIN = 19, 21
READING = 1, 2, 3
"""Numbers of capabilities; root reads others' files by `DAC_OVERRIDE` and the two behind it."""
_HEADER = struct.pack("=Ii", 0x20080522, 0)
"""Version 3, of the calling thread."""


def in_thread(prepare: Callable[[], object], action: Callable[[], T]) -> T:
    """Return what `action` returns in a thread of its own, after what `prepare` does to that."""
    results, errors = list[T](), list[BaseException]()

    def work() -> None:
        try:
            prepare()
            results.append(action())
        except BaseException as error:  # it is raised where it is waited for
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def without(*capabilities: int, action: Callable[[], T]) -> T:
    """Return what `action` returns in a thread, and in those that it starts, that may do less."""
    return in_thread(lambda: _drop(capabilities), action)


def _drop(capabilities: Iterable[int]) -> None:
    """Take capabilities from this thread alone, which no wrapper of a C library does."""
    libc = ctypes.CDLL(None, use_errno=True)
    sets = (ctypes.c_uint32 * 6)()
    assert not libc.capget(_HEADER, sets), ctypes.get_errno()
    # Effective, permitted and inheritable ones: the lower half of each, then the higher.
    for index in range(3):
        for capability in capabilities:
            sets[index] &= ~(1 << capability)
    assert not libc.capset(_HEADER, sets), ctypes.get_errno()
