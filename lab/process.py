"""Child processes of the lab: started, awaited until they answer, and certainly stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from pathlib import Path
from typing import TypeVar

from anyio import CancelScope, to_thread

from forensics_core.errors import ForensicsError

T = TypeVar("T")

_LISTEN = "0A"
"""The state of a TCP socket that listens, in /proc/net/tcp."""


class LabError(ForensicsError):
    """A part of the lab could not be started, or did not do what it was told."""


def end_politely() -> None:
    """Let SIGTERM end this program as Ctrl-C does, so that whatever it started is stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def daemon(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    grace: float = 0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a session of its own, its output in `log`; stop it when the block ends.

    With `grace`, in seconds, it is asked to end first, and killed with its group after that.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process, grace)


def stop(process: subprocess.Popen[bytes], grace: float = 0) -> None:
    """End a process that `daemon` started: politely for `grace` seconds, then its whole group."""
    if grace and process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_ready(
    name: str,
    ready: Callable[[], bool],
    process: subprocess.Popen[bytes],
    log: Path,
    seconds: float = 60,
) -> None:
    """Wait until `ready` says so. Raises `LabError`, with the log's end, if that never happens."""
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise LabError(f"{name} ended with {process.returncode}: {tail(log)}")
        if time.monotonic() > end:
            raise LabError(f"{name} did not answer within {seconds:.0f} s: {tail(log)}")
        time.sleep(0.05)


def tail(log: Path, lines: int = 5) -> str:
    """Return the last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def free_ports(count: int) -> list[int]:
    """Return TCP ports of the loopback interface that nothing listens on at the moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def listening_ports(process: int) -> set[int]:
    """Return the TCP ports that a process listens on, and so none that another one took."""
    own = set()
    for descriptor in Path(f"/proc/{process}/fd").glob("*"):
        with suppress(OSError):
            own.add(str(descriptor.readlink()))
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            _, here, _, state, *_, inode = line.split()[:10]
            if state == _LISTEN and f"socket:[{inode}]" in own:
                ports.add(int(here.rpartition(":")[2], 16))
    return ports


@asynccontextmanager
async def in_thread(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a blocking context manager in worker threads; it is always left."""
    with CancelScope(shield=True):
        value = await to_thread.run_sync(manager.__enter__)
    try:
        yield value
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(manager.__exit__, None, None, None)
