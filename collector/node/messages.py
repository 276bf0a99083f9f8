"""Messages in a System V queue, copied: they stay where they are, and the queue's times as well.

For a thread in the queue's IPC namespace. The kernel copies where it was built for checkpoints
(`CONFIG_CHECKPOINT_RESTORE`); elsewhere there is nothing::

    for message in messages_of(0, 3): ...

Source: msgop(2) on MSG_COPY
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import NamedTuple

MAX_MESSAGES = 256
"""Messages of one queue that are copied."""
MAX_MESSAGE = 64 * 1024
"""Bytes of one; most kernels take 8192 at the most."""
MAX_QUEUE = 1024 * 1024
"""Bytes of one queue."""
_IPC_NOWAIT, _MSG_NOERROR, _MSG_COPY = 0o4000, 0o10000, 0o40000
_WORD = ctypes.sizeof(ctypes.c_long)


class QueuedMessage(NamedTuple):
    """One message."""

    kind: int
    """What its sender says that it is; receivers choose by it."""
    data: bytes


def messages_of(queue: int, count: int) -> Iterator[QueuedMessage]:
    """Yield the first of the messages in a queue of `count`, as far as they can be copied."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.msgrcv.restype = ctypes.c_ssize_t
    size, flags = ctypes.c_size_t(MAX_MESSAGE), _IPC_NOWAIT | _MSG_NOERROR | _MSG_COPY
    buffer, room = ctypes.create_string_buffer(_WORD + MAX_MESSAGE), MAX_QUEUE
    for number in range(min(count, MAX_MESSAGES)):
        got = libc.msgrcv(queue, buffer, size, ctypes.c_long(number), flags)
        if got < 0:
            continue  # it is too long, or gone
        if got > room:
            return
        room -= got
        kind = int.from_bytes(buffer.raw[:_WORD], sys.byteorder, signed=True)
        yield QueuedMessage(kind, buffer.raw[_WORD : _WORD + got])
