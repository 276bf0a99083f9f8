"""The process that holds others still: started by `collector.memory.freeze`, nothing else.

`python -m collector.memory.tracer PROC` reads lines `PID SECONDS THREADS`, stops that process and
answers with a head (`HEAD`) and its registers; the next line lets it go. Nothing is left standing:

- after SECONDS the kernel's alarm ends this program, and with it every hold;
- the same when it is killed, or when its input closes because whoever started it was.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from collector.memory.ptrace import Tracees

HEAD = struct.Struct("<iiii")
"""Threads that there are, threads that stand still, an error's number, bytes that follow."""
RECORD = struct.Struct("<iHH")
"""A thread's number, and the bytes of its general and of its floating point registers."""
GOING, LEAVING = b"1", b"0"
"""The answer once all were let go; and where that takes our end, which follows."""
STOP_SHARE = 0.25
"""What part of the time may go by until all threads stand still."""


def main(arguments: Sequence[str]) -> None:
    """Hold one process after the other, until there is nobody to answer to."""
    proc = Path(arguments[0])
    # The default action ends us, wherever we are; whoever started us may have blocked it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    while line := sys.stdin.buffer.readline():
        pid, seconds, limit = line.split()
        if not _hold(proc / str(int(pid)), float(seconds), int(limit)):
            return


def _hold(folder: Path, seconds: float, limit: int) -> bool:
    """Hold one process; return whether we can hold another after it."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    tracees = Tracees(folder / "task", limit)
    tracees.stop(seconds * STOP_SHARE)
    rows = [(RECORD.pack(one, len(a), len(b)), a, b) for one, a, b in tracees.registers()]
    body = b"".join(part for row in rows for part in row)
    _write(HEAD.pack(tracees.threads, len(tracees.stopped), tracees.error, len(body)) + body)
    heard = sys.stdin.buffer.readline()
    free = tracees.release()
    signal.setitimer(signal.ITIMER_REAL, 0)
    if heard:
        _write(GOING if free else LEAVING)
    return bool(heard) and free


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main(sys.argv[1:])
