"""A file system as a pax archive, read by GNU tar straight from the node.

tar walks by directory descriptors and follows no symbolic link, opens no FIFO and no device, leaves
access times alone, and knows hard links, holes, ACLs and extended attributes. It runs as a child
that is always ended with its block::

    async with read_tree(root) as reading:
        async for block in reading.blocks: ...
    reading.tar_stderr.notes

A tar that dies, of a tree too deep for its memory or by a signal, is followed by another one that
goes on behind the place, into the same archive; `reading.losses` names what is missing.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream, Process, TaskGroup

from collector.files.resuming import MANY, Resumption, TarLoss
from collector.files.sockets import MAX_NAMES_SIZE, SocketNames
from collector.files.splice import Splice
from collector.files.tar_stderr import Lines, TarStderr, unquote
from collector.runtimes.runtime import Unavailable
from forensics_core._internal import children
from forensics_core._internal.tasks import task_group
from forensics_core.bundle.manifest import Flag
from forensics_core.errors import SourceError
from forensics_core.storage.blocks import read_socket
from forensics_core.storage.objects import Buffer

BETWEEN = 1024 * 1024
"""Bytes between tar and us, if the kernel grants them."""
ENDING = 10.0
"""Seconds that a tar which was killed is waited for: the kernel may not let it go."""
_SOCKET = b'": socket ignored'

OPTIONS = (
    "--create",
    "--file=-",
    "--blocking-factor=512",
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


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """What reading a file system may cost, and where the programs for it are."""

    memory: int = 160 * 1024 * 1024
    """Bytes that tar may have: a very deep tree costs it much, and must not cost the Job."""
    many: int = MANY
    """Names in a directory that may be what killed tar."""
    socket_names: int = MAX_NAMES_SIZE
    """Bytes of memory for names of sockets."""
    folders: Sequence[str] = children.FOLDERS
    """Where tar, and what it is started with, is looked for."""


TREE_LIMITS = TreeLimits()


@dataclass
class TreeReading:
    """One walk through a file system."""

    blocks: AsyncIterator[Buffer]
    """The archive; raises `SourceError` at its end if tar gave up."""
    tar_stderr: TarStderr = field(default_factory=TarStderr)
    """Complete once `blocks` has ended."""
    sockets: SocketNames = field(default_factory=SocketNames)
    """The names of sockets, which are not in the archive."""
    losses: list[TarLoss] = field(default_factory=list)
    """What tar died in: what it had not read of it is missing."""
    runs: int = 0
    """How many tars it took."""

    def add_line(self, line: bytes) -> None:
        """Take in one line that tar wrote to its standard error."""
        self.tar_stderr.add_line(line)
        if line.endswith(_SOCKET):
            self.sockets.add(unquote(line[line.index(b'"') + 1 : -len(_SOCKET)]))


@asynccontextmanager
async def read_tree(root: int, limits: TreeLimits = TREE_LIMITS) -> AsyncIterator[TreeReading]:
    """Archive all beneath the directory with the descriptor `root`; members begin with `./`.

    Raises `Unavailable` where there is no GNU tar.
    """
    place = f"--directory=/proc/self/fd/{root}"
    tar = await gnu_tar(limits.folders)
    command = await with_numeric_ids(tar, *OPTIONS, place, folders=limits.folders)
    async with AsyncExitStack() as stack, task_group() as tasks:
        walk = _TarRuns(command, root, stack, tasks, limits)
        async with aclosing(walk.blocks):
            yield walk.reading
        tasks.cancel_scope.cancel()


async def gnu_tar(folders: Sequence[str] = children.FOLDERS) -> str:
    """Return the path of GNU tar. Raises `Unavailable` where the node has none."""
    with suppress(FileNotFoundError):
        path = await to_thread.run_sync(children.program, "tar", folders)
        answer = await children.run([path, "--version"], folders)
        if b"GNU tar" in answer.stdout:
            return path
    raise Unavailable(
        "GNU tar is not installed", reason="NotSupported", hint="Install the package tar"
    )


class _TarRuns:
    """One tar after the other, until the file system has been read."""

    def __init__(
        self,
        command: list[str],
        root: int,
        stack: AsyncExitStack,
        tasks: TaskGroup,
        limits: TreeLimits,
    ) -> None:
        self._command = command
        self._root = root
        self._stack = stack
        """Ends the tars, also where the blocks are not read to their end."""
        self._tasks = tasks
        self._limits = limits
        self._splice = Splice()
        self._resumption = Resumption(root, many=limits.many)
        self.blocks = self._read()
        self.reading = TreeReading(self.blocks, losses=self._resumption.losses)
        self.reading.sockets.room = limits.socket_names

    async def _read(self) -> AsyncGenerator[Buffer, None]:
        options: list[str] = []
        while True:
            command = [*self._command, *options, "."]
            process, outlet = await self._stack.enter_async_context(
                _running(command, self._root, self._limits)
            )
            self.reading.runs += 1
            heard = anyio.Event()
            if process.stderr:
                self._tasks.start_soon(_listen, process.stderr, self.reading, heard)
            async with aclosing(read_socket(outlet, begin=self._splice.carried)) as blocks:
                async for block in blocks:
                    for piece in self._splice.feed(block):
                        yield piece
            await heard.wait()
            try:
                self.reading.tar_stderr.judge(await process.wait())
                return
            except SourceError as death:
                if not await self._goes_on(str(death)):
                    raise
            for piece in self._splice.mend():
                yield piece
            options = await to_thread.run_sync(self._exclusions)

    async def _goes_on(self, why: str) -> bool:
        """Return whether another tar may go on after the one that died."""
        splice, tar_stderr = self._splice, self.reading.tar_stderr
        if splice.ended or splice.lost:
            return False
        tar_stderr.fatal.clear()
        place = splice.last, why, splice.cut > 0
        going = await to_thread.run_sync(self._resumption.go_on, *place)
        if self.reading.losses:
            tar_stderr.notes.flags.add(Flag.TRUNCATED)
        return going

    def _exclusions(self) -> list[str]:
        """Return the options that tell the next tar what to leave out."""
        self._splice.repeated = self._resumption.repeated
        arguments, lines = self._resumption.excluded
        file = os.memfd_create("exclude")
        self._stack.callback(os.close, file)
        with open(file, "wb", closefd=False) as names:
            names.write(lines)
        # Small records: what tar wrote before it dies shall be seen, so that it is not blamed.
        options = ["--blocking-factor=1", "--anchored", "--no-wildcards"]
        options.append(f"--exclude-from=/proc/{os.getpid()}/fd/{file}")
        return [*options, *map(os.fsdecode, arguments)]


@asynccontextmanager
async def _running(
    command: list[str], root: int, limits: TreeLimits
) -> AsyncIterator[tuple[Process, socket.socket]]:
    """Start tar, and end it with the block."""
    # Unlike a pipe, a socket fills a whole block in one call.
    outlet, inlet = socket.socketpair()
    with outlet:
        with inlet:
            inlet.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BETWEEN)
            process = await children.start(
                command, stdout=inlet.fileno(), pass_fds=[root], folders=limits.folders
            )
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (limits.memory, limits.memory))
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
            reading.add_line(line)
    reading.tar_stderr.unheard += lines.dropped
    heard.set()


_SCRIPT = """
for file in /etc/passwd /etc/group /etc/nsswitch.conf; do
    [ ! -e "$file" ] || mount --bind /dev/null "$file" || exit
done
exec "$@"
"""
_WITHOUT_NAMES = ("unshare", "--mount", "sh", "-ec", _SCRIPT, "sh")


async def with_numeric_ids(*command: str, folders: Sequence[str] = children.FOLDERS) -> list[str]:
    """Return the command that runs `command` where nobody knows the names of users and groups.

    GNU tar spells access lists with the names that ids have on the machine where it runs, which are
    not the container's; older releases do so in spite of `--numeric-owner`. It runs in a mount
    namespace of its own, in which the files with the names are empty. Where the kernel grants us
    none, the command is returned as it is.
    """
    try:
        run = await children.run([*_WITHOUT_NAMES, "true"], folders)
    except FileNotFoundError:
        return [*command]
    return [*command] if run.returncode else [*_WITHOUT_NAMES, *command]
