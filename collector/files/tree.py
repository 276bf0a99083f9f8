"""A file system as a pax archive, read by GNU tar straight from the node.

tar walks by directory descriptors and follows no symbolic link, opens no FIFO and no device, leaves
access times alone, and knows hard links, holes, ACLs and extended attributes. It runs as a child
that is always ended with its block::

    async with read_tree(root) as reading:
        async for block in reading.blocks: ...
    reading.complaints.findings
"""

from __future__ import annotations

import resource
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream, Process

from collector.files.complaints import Complaints, Lines, unquote
from collector.files.nameless import nameless
from collector.files.strays import SocketNames
from collector.runtimes.runtime import Unavailable
from forensics_core import children
from forensics_core.export.blocks import read_socket
from forensics_core.export.destination import Buffer
from forensics_core.tasks import task_group

BETWEEN = 1024 * 1024
"""Bytes between tar and us, if the kernel grants them."""
MEMORY = 160 * 1024 * 1024
"""Bytes of memory that tar may have: a very deep tree costs it much, and must not cost the Job."""
ENDING = 10.0
"""Seconds that a tar which was killed is waited for: the kernel may not let it go."""
_SOCKET = b'": socket ignored'

OPTIONS = (
    "--create",
    "--file=-",
    "--blocking-factor=128",
    "--format=posix",
    "--pax-option=exthdr.name=%d/PaxHeaders/%f",
    "--numeric-owner",
    "--acls",
    "--xattrs",
    "--xattrs-include=*",
    "--sparse",
    "--atime-preserve=system",
    "--quoting-style=c",
)
"""No `--one-file-system`: an overlay's files may differ in device. Sub-mounts are not in sight."""


@dataclass
class TreeReading:
    """One walk through a file system."""

    blocks: AsyncIterator[Buffer]
    """The archive; raises `SourceError` at its end if tar gave up."""
    complaints: Complaints = field(default_factory=Complaints)
    """Complete once `blocks` has ended."""
    sockets: SocketNames = field(default_factory=SocketNames)
    """The names of sockets, which are not in the archive."""

    def hear(self, line: bytes) -> None:
        """Take in one line that tar wrote to its standard error."""
        self.complaints.hear(line)
        if line.endswith(_SOCKET):
            self.sockets.add(unquote(line[line.index(b'"') + 1 : -len(_SOCKET)]))


@asynccontextmanager
async def read_tree(root: int) -> AsyncIterator[TreeReading]:
    """Archive all beneath the directory with the descriptor `root`; members begin with `./`.

    Raises `Unavailable` where there is no GNU tar.
    """
    place = f"--directory=/proc/self/fd/{root}"
    command = await nameless(await gnu_tar(), *OPTIONS, place, ".")
    async with _running(command, root) as (process, outlet), task_group() as tasks:
        complaints, heard = Complaints(), anyio.Event()
        async with aclosing(_blocks(outlet, process, complaints, heard)) as blocks:
            reading = TreeReading(blocks, complaints)
            if process.stderr:
                tasks.start_soon(_listen, process.stderr, reading, heard)
            yield reading
        tasks.cancel_scope.cancel()


async def gnu_tar() -> str:
    """Return the path of GNU tar. Raises `Unavailable` where the node has none."""
    with suppress(FileNotFoundError):
        path = await to_thread.run_sync(children.program, "tar")
        answer = await children.run([path, "--version"])
        if b"GNU tar" in answer.stdout:
            return path
    raise Unavailable(
        "GNU tar is not installed", reason="NotSupported", hint="Install the package tar"
    )


async def _blocks(
    outlet: socket.socket, process: Process, complaints: Complaints, heard: anyio.Event
) -> AsyncGenerator[Buffer, None]:
    async with aclosing(read_socket(outlet)) as blocks:
        async for block in blocks:
            yield block
    await heard.wait()
    complaints.judge(await process.wait())


@asynccontextmanager
async def _running(command: list[str], root: int) -> AsyncIterator[tuple[Process, socket.socket]]:
    """Start tar, and end it with the block."""
    # Unlike a pipe, a socket fills a whole block in one call.
    outlet, inlet = socket.socketpair()
    with outlet:
        with inlet:
            inlet.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BETWEEN)
            process = await children.start(command, stdout=inlet.fileno(), pass_fds=[root])
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
        try:
            yield process, outlet
        finally:
            await _end(process)
            # Wakes a thread that still reads.
            outlet.shutdown(socket.SHUT_RDWR)


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    with anyio.move_on_after(ENDING, shield=True):
        await process.aclose()


async def _listen(stream: ByteReceiveStream, reading: TreeReading, heard: anyio.Event) -> None:
    lines = Lines()
    async for chunk in stream:
        for line in lines.feed(chunk):
            reading.hear(line)
    reading.complaints.unheard = lines.dropped
    heard.set()
