"""`python -m bench.steps STEP`: one step of a capture by itself; its cost as JSON.

A step is the collector's own code, at work on blocks as the collector has them, in a process where
nothing else happens.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from collector.files.gnu_tar import OPTIONS
from forensics_core._internal.allocator import use_one_arena
from forensics_core.pipeline.stages import Digest, Stage, Zstd
from forensics_core.storage.blocks import BLOCK_SIZE
from forensics_core.storage.objects import Buffer
from forensics_core.storage.storage import open_destination
from forensics_core.tarindex.rows import Chunk
from forensics_core.tarindex.stage import TarIndex


@dataclass(slots=True)
class StepCost:
    """What a step took."""

    bytes: int = 0
    """That went in."""
    wall: float = 0.0
    """Seconds."""
    cpu: float = 0.0
    """Seconds, user and system."""
    out: int = 0
    """Bytes that came out, where they are others; of an index, its rows."""


def tar_command(root: str) -> list[str]:
    """Return the collector's `tar`, for a folder that has other file systems mounted in it."""
    return ["tar", *OPTIONS, "--one-file-system", f"--directory={root}", "."]


def read_tree(root: str) -> StepCost:
    """Archive a folder with GNU tar, and throw the archive away; the CPU time is that of `tar`."""
    started = time.perf_counter()
    outlet, inlet = socket.socketpair()
    with outlet:
        with inlet:
            tar = subprocess.Popen(
                tar_command(root), stdout=inlet.fileno(), stderr=subprocess.DEVNULL
            )
        waste, size = bytearray(BLOCK_SIZE), 0
        while got := outlet.recv_into(waste):
            size += got
    _, _, used = os.wait4(tar.pid, 0)
    tar.returncode = 0  # It complains of sockets, and of what is gone, by its code.
    return StepCost(size, time.perf_counter() - started, used.ru_utime + used.ru_stime)


async def sha256(archive: str) -> StepCost:
    """Hash an archive."""
    return await _through(Digest(), archive)


async def zstd(archive: str) -> StepCost:
    """Compress an archive, one block after the other."""
    return await _through(Zstd(workers=1), archive)


async def sha256_stored(archive: str) -> StepCost:
    """Hash what an archive is compressed to."""
    digest, compress = Digest(), Zstd(workers=1)
    cost = StepCost()
    for block in _blocks(archive):
        await to_thread.run_sync(_timed, digest.process, compress.process(block), cost)
    return cost


async def index(archive: str) -> StepCost:
    """Index an archive: parse it, hash each file, make rows."""

    async def drop(chunk: Chunk) -> None:
        """The rows go nowhere."""

    stage = TarIndex(drop)
    cost = await _through(stage, archive)
    await stage.close()
    cost.out = stage.rows
    return cost


async def upload(size: str) -> StepCost:
    """Upload so many bytes of noise to the endpoint that the AWS variables name."""
    block, cost = os.urandom(BLOCK_SIZE), StepCost()
    async with open_destination(f"s3://bench/upload-{os.getpid()}") as destination:
        await destination.check()
        started, used = time.perf_counter(), time.process_time()
        async with destination.create("noise") as writer:
            while cost.bytes < int(size):
                await writer.write(block)
                cost.bytes += len(block)
            await writer.commit()
    cost.wall, cost.cpu = time.perf_counter() - started, time.process_time() - used
    return cost


def send(size: str) -> StepCost:
    """Hand so many bytes to a TCP connection on loopback, which another process empties."""
    block, cost = os.urandom(BLOCK_SIZE), StepCost()
    with socket.create_server(("127.0.0.1", 0)) as server:
        drain = [sys.executable, "-c", _DRAIN, str(server.getsockname()[1])]
        with subprocess.Popen(drain), server.accept()[0] as inlet:
            started, used = time.perf_counter(), time.process_time()
            while cost.bytes < int(size):
                inlet.sendall(block)
                cost.bytes += len(block)
    cost.wall, cost.cpu = time.perf_counter() - started, time.process_time() - used
    return cost


_DRAIN = """import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as outlet:
    while outlet.recv_into(bytearray(1 << 20)): pass"""


async def _through(stage: Stage, archive: str) -> StepCost:
    cost = StepCost()
    for block in _blocks(archive):
        await to_thread.run_sync(_timed, stage.process, block, cost)
    return cost


def _timed(process: Callable[[Buffer], Buffer], block: Buffer, cost: StepCost) -> None:
    started, used = time.perf_counter(), time.thread_time()
    after = process(block)
    cost.cpu += time.thread_time() - used
    cost.wall += time.perf_counter() - started
    cost.bytes += len(block)
    cost.out += len(after)


def _blocks(archive: str) -> Iterator[bytes]:
    with Path(archive).open("rb") as file:
        while block := file.read(BLOCK_SIZE):
            yield block


STEPS = {step.__name__: step for step in (sha256, zstd, sha256_stored, index, upload)}
BY_ITSELF = {step.__name__: step for step in (read_tree, send)}
"""Those that need no event loop."""


def main() -> None:
    """Carry out the step that the first argument names, on what the second one does."""
    use_one_arena()
    name, subject = sys.argv[1:]
    alone = BY_ITSELF.get(name)
    cost = alone(subject) if alone else anyio.run(STEPS[name], subject)
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
