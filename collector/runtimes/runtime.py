"""What the collector asks of a container runtime, whichever it is.

Containers are named as pods name them, with their runtime's scheme: `docker://4f2a...`::

    async with open_runtime("docker") as runtime:
        container = await runtime.find("docker://web")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from forensics_core.errors import ForensicsError, UsageError

if TYPE_CHECKING:
    from collector.files.changes import OpenLayers
    from collector.files.logfiles import LogFiles
    from collector.layers.promised import ImageLayers
    from collector.node.host import Host


class LogStream(StrEnum):
    """What a container writes to; its value names the file in the bundle."""

    STDOUT = "stdout"
    STDERR = "stderr"
    CONSOLE = "console"
    """Both in one, of a container with a terminal."""


class RuntimeChange(NamedTuple):
    """One difference between a container and its image."""

    kind: Literal["A", "C", "D"]
    """Added, changed, deleted."""
    path: str


class ListedContainer(NamedTuple):
    """A container in a list."""

    container_id: str
    """Whole, with its scheme."""
    pod: str
    """`namespace/name`, or nothing."""
    name: str
    image: str
    state: str


class RuntimeProcesses(NamedTuple):
    """What a runtime says of the processes in a container."""

    pids: tuple[int, ...] = ()
    """Those that it counts as the container's, as its machine numbers them; it may tell none."""
    execs: tuple[dict[str, Any], ...] = ()
    """What was started in it by `exec`: `id`, `pid`, `running`, `terminal`, `command`, `user` as
    far as they are known, and in `said` all that the runtime says."""
    omitted: int = 0
    """Sessions that it has and that are not among them: too many, or over when asked for."""


class RuntimeEvents(NamedTuple):
    """What a runtime remembers of what it did with containers."""

    lines: bytes
    """A line of JSON an event."""
    cut: bool = False
    """Whether it may have forgotten some of the time that was asked for."""


MAX_COMMAND = 16 * 1024
"""Letters of the command of an exec session; it may have megabytes."""


def shortened_words(words: object) -> tuple[list[Any] | None, bool]:
    """Return as many words of a command as are kept, and whether that is all of it."""
    if not isinstance(words, list):
        return None, words is None
    kept, left = list[Any](), MAX_COMMAND
    for word in words:
        left -= len(str(word)) + 1
        if left < 0:
            return kept, False
        kept.append(word)
    return kept, True


class Unavailable(ForensicsError):
    """Evidence that cannot be read this way here; `reason` is the manifest's word for it."""

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """A container as its runtime described it at one moment."""

    container_id: str
    """Whole, with its scheme."""
    name: str
    image: str
    """As it was asked for: `registry/web:1`."""
    image_id: str
    state: str
    """`created`, `running`, `paused`, `restarting`, `exited`, `dead`, ..."""
    pid: int | None
    """The first process, as the runtime's machine numbers it; None where nothing runs."""
    log_streams: tuple[LogStream, ...]
    """What the runtime itself can show of its log, where it can."""
    document: bytes
    """Everything that the runtime said, byte for byte: JSON."""
    made: float = 0.0
    """When it was made, or the pod around it, in seconds since 1970; 0 where nobody says."""

    @property
    def key(self) -> str:
        """The ID without its scheme."""
        return self.container_id.partition("://")[2]


class Runtime(Protocol):
    """A container runtime.

    Every method raises `RuntimeUnavailable` if the runtime does not answer, and all that take a
    `ContainerInfo` raise `ContainerGone` if the container was removed meanwhile.
    """

    @property
    def scheme(self) -> str:
        """The runtime's word in container IDs."""
        ...

    @property
    def machine(self) -> Host | None:
        """The file system of the runtime's machine; None where it cannot be reached."""
        ...

    async def version(self) -> str:
        """Return the runtime's name and version: `docker 28.2.2`."""
        ...

    async def list(self) -> list[ListedContainer]:
        """Return every container that there is, in any state."""
        ...

    async def find(self, reference: str) -> ContainerInfo:
        """Return the container that a name, an ID or the beginning of an ID means.

        Raises `ContainerNotFound`, with similar names, and `UsageError` for an ambiguous one.
        """
        ...

    async def inspect(self, container: ContainerInfo) -> ContainerInfo:
        """Return what the runtime says of the container now."""
        ...

    async def image(self, container: ContainerInfo) -> bytes:
        """Return what the runtime says of the container's image: JSON, byte for byte."""
        ...

    def changes(
        self, container: ContainerInfo
    ) -> AbstractAsyncContextManager[AsyncIterator[RuntimeChange]]:
        """Read the runtime's own list of differences from the image.

        Raises `Unavailable` where the runtime keeps none.
        """
        ...

    def layers(self, container: ContainerInfo) -> AbstractAsyncContextManager[OpenLayers]:
        """Open the directories of the container's overlay, running or not.

        Raises `Unavailable` where it has none, or where this process cannot reach them.
        """
        ...

    async def image_layers(self, container: ContainerInfo) -> ImageLayers:
        """Return what the image promises of its layers, and where they are unpacked.

        Raises `Unavailable` where there is nothing to compare them with.
        """
        ...

    def log_files(self, container: ContainerInfo) -> AbstractAsyncContextManager[LogFiles]:
        """Open the files that the runtime writes the container's output to; there may be none.

        Raises `Unavailable` where this process cannot reach them.
        """
        ...

    async def compare_logs(self, container: ContainerInfo, logs: LogFiles) -> str:
        """Return how what the runtime itself shows of a log differs from its files.

        It is empty where nothing differs, and where there is too much to compare.
        """
        ...

    def logs(
        self, container: ContainerInfo, stream: LogStream
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Read one of the `log_streams`, as lines that begin with their time, RFC 3339.

        It ends at the present moment, by the runtime's clock.

        Raises `Unavailable` where the logging driver keeps nothing that can be read.
        """
        ...

    def root(self, container: ContainerInfo) -> AbstractAsyncContextManager[int]:
        """Open the container's merged file system, without what is mounted in it.

        Yields a directory's file descriptor. Raises `Unavailable` where this process cannot reach
        it.
        """
        ...

    def export(self, container: ContainerInfo) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Read the file system as the tar archive that the runtime makes of it."""
        ...

    async def pause(self, container: ContainerInfo) -> None:
        """Freeze the container's processes. Raises `Unavailable` where the runtime cannot."""
        ...

    async def resume(self, container: ContainerInfo) -> None:
        """Let the container's processes go on."""
        ...

    async def runtime_processes(self, container: ContainerInfo) -> RuntimeProcesses:
        """Return what the runtime says of the container's processes, and of its exec sessions."""
        ...

    async def events(self, containers: Sequence[ContainerInfo], seconds: int) -> RuntimeEvents:
        """Return what the runtime remembers of the last `seconds` about containers.

        Raises `Unavailable` where it remembers nothing.
        """
        ...

    async def process(self, container: ContainerInfo) -> int:
        """Return the ID, on this machine, of the container's first process.

        Raises `Unavailable` where nothing runs, or where /proc is not that of the container's
        machine.
        """
        ...


def split_reference(reference: str) -> tuple[str, str]:
    """Return scheme and rest of `docker://web`. Raises `UsageError` where either is missing."""
    scheme, mark, rest = reference.partition("://")
    if not (scheme and mark and rest):
        raise UsageError(
            f"'{reference}' does not say which container of which runtime",
            hint="Name it as docker://NAME or containerd://ID",
        )
    return scheme, rest


_PRODUCTS = {"kata": "Kata Containers", "runsc": "gVisor", "gvisor": "gVisor"}
"""By what is found in their runtimes' names."""


def refuse_sandboxed(container: str, runtime: str) -> None:
    """Raise `UsageError` for a container that runs in a machine or kernel of its own."""
    for word, product in _PRODUCTS.items():
        if word in runtime.lower():
            raise UsageError(
                f"The container '{container}' runs in {product}: the node sees neither its "
                "processes nor its files",
                hint="Capture from inside of it, or snapshot its virtual machine",
            )
