"""`python -m bench.stall PORT`: how long a program's `/healthz` leaves who asks without an answer.

It asks until its input ends, as a process of its own, which waits for nobody but that program; then
it prints the milliseconds of each answer as JSON. Until the program listens nothing counts.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection, HTTPException

from anyio import to_thread

from bench.sink import ROOT

INTERVAL = 0.005
"""Seconds between two questions."""
PATIENCE = 60.0
"""Seconds after which an answer is one that never comes."""


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[list[float]]:
    """Ask for the block; yields a list that has the milliseconds of each answer afterwards."""
    found: list[float] = []
    process = subprocess.Popen(  # noqa: ASYNC220  # it starts in a millisecond
        [sys.executable, "-m", "bench.stall", str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            yield found
            said, _ = await to_thread.run_sync(process.communicate)
            found += json.loads(said)
        finally:
            process.kill()


def ask(port: int) -> list[float]:
    """Ask until standard input ends; return the milliseconds of each answer."""
    found: list[float] = []
    while not select.select([sys.stdin], [], [], INTERVAL)[0]:
        began = time.monotonic()
        if _answers(port):
            found.append(1000 * (time.monotonic() - began))
    return found


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    print(json.dumps(ask(int(sys.argv[1]))))
