"""A container's files and processes, as the node has them, whichever its runtime."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio import CancelScope, to_thread

from collector.files import mounts
from collector.files.changes import OpenLayers
from collector.files.overlay import OverlayDirectories
from collector.files.safe_open import opened
from collector.node.abandonable import run_abandonable
from collector.node.host import Host
from collector.node.procfs import Process
from collector.runtimes.runtime import ContainerInfo, Unavailable

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""A directory of the runtime's; CRI-O names its layers by symbolic links, which stay inside."""

TIMEOUT = 30.0
"""Seconds that opening a container's layers may take."""

_OWN_WORD = (
    "The root was found through the container's own mount namespace, because its runtime does not "
    "say where it is. A container with the capability SYS_ADMIN can put another directory there"
)

PLACEHOLDERS = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"})
"""What a runtime mounts into every container."""


class Root(int):
    """The descriptor of a container's file system."""

    doubt: str
    """Why it may not be the container's; empty where its runtime's machine has it so."""

    def __new__(cls, descriptor: int, doubt: str = "") -> Root:
        """Return a number that remembers where it is from."""
        root = super().__new__(cls, descriptor)
        root.doubt = doubt
        return root


@dataclass(frozen=True, slots=True)
class RuntimeStorage:
    """Where a runtime says that it keeps a container's files."""

    merged: Path | None = None
    """The merged file system, while it is mounted."""
    layers: OverlayDirectories | None = None
    destinations: frozenset[str] = PLACEHOLDERS
    """Paths in the container that something is mounted on."""
    driver: str = ""
    """What the runtime calls its storage driver, for people."""
    plain: Path | None = None
    """The files themselves, of a driver that keeps a whole copy for each container."""


@asynccontextmanager
async def open_root(
    container: ContainerInfo, storage: RuntimeStorage, host: Host
) -> AsyncIterator[Root]:
    """Open the container's merged file system as a directory. Raises `Unavailable`."""
    require_root()
    descriptor = await run_abandonable(TIMEOUT, "the file system", _open, container, storage, host)
    try:
        yield descriptor
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(os.close, descriptor)


@asynccontextmanager
async def open_layers(storage: RuntimeStorage, host: Host) -> AsyncIterator[OpenLayers]:
    """Open the directories of the container's overlay. Raises `Unavailable` where it has none."""
    require_root()
    layers = overlay_of(storage)
    with ExitStack() as stack:
        opening = (stack, layers, host)
        places = await run_abandonable(TIMEOUT, "the overlay's layers", _open_all, *opening)
        names = frozenset(os.fsencode(path).strip(b"/") for path in storage.destinations)
        yield OpenLayers(places[0], tuple(places[1:]), layers.marks, names)


def overlay_of(storage: RuntimeStorage) -> OverlayDirectories:
    """Return the directories of an overlay. Raises `Unavailable` where it is none."""
    layers = storage.layers
    if layers is None or not layers.complete:
        driver = f"The storage driver {storage.driver or '(unnamed)'}"
        raise Unavailable(
            f"{driver} is not an overlay whose layers are known", reason="NotSupported"
        )
    return layers


def _open_all(stack: ExitStack, layers: OverlayDirectories, host: Host) -> Sequence[int]:
    paths = (layers.upper, *layers.lower_layers)
    _allow_descriptors(5 * len(paths) + 256)
    try:
        return [stack.enter_context(opened(mounts.open_view(path, host))) for path in paths]
    except OSError as error:
        raise _unavailable([error]) from error


def _allow_descriptors(count: int) -> None:
    """Raise the limit of open files where there are very many layers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard or (soft < count and hard == resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


async def local_process(container: ContainerInfo) -> int:
    """Return the container's first process. Raises `Unavailable` if it is not of this machine."""
    if container.pid is None:
        raise Unavailable(f"The container is {container.state}", reason="NotRunning")
    require_root()
    if not await to_thread.run_sync(_is_ours, container.pid, container.key):
        raise Unavailable(
            f"Process {container.pid} of this machine is not the container's", reason="Remote"
        )
    return container.pid


def require_root() -> None:
    """Raise `Unavailable` for anybody but root: nobody else may read a node's storage."""
    if os.geteuid() != 0:
        raise Unavailable(
            "Only root may read it on the node", reason="NotPermitted", hint="Run it as root"
        )


def _is_ours(pid: int, key: str) -> bool:
    try:
        with Process.open(pid) as process:
            return any(key in path for path in process.cgroups().values())
    except OSError:
        return False


def _open(container: ContainerInfo, storage: RuntimeStorage, host: Host) -> Root:
    """Try each way to the file system, the nearest to the disk first."""
    obstacles = []
    for way in _ways(container, storage, host):
        try:
            return way()
        except OSError as error:
            obstacles.append(error)
    raise _unavailable(obstacles)


def _ways(
    container: ContainerInfo, storage: RuntimeStorage, host: Host
) -> Iterator[Callable[[], Root]]:
    """Yield the ways, those first that the container has no part in.

    Its own mount namespace is the last: with SYS_ADMIN it may have mounted anything over its root.
    """
    merged, layers, pid = storage.merged, storage.layers, container.pid
    plain = storage.plain
    if plain:
        yield lambda: Root(host.open(os.fsencode(plain), _FOLDER))
    if pid is not None:
        if merged:
            yield lambda: Root(mounts.open_mounted(merged, host))
        yield lambda: Root(mounts.clone_root(pid, container.key), _OWN_WORD)
    elif layers and layers.complete:
        yield lambda: Root(mounts.mount_layers(layers, host))


def _unavailable(obstacles: Sequence[OSError]) -> Unavailable:
    if any(error.errno in {errno.EPERM, errno.EACCES} for error in obstacles):
        reason, why = "NotPermitted", "this process may not reach the file system"
    else:
        reason, why = "NotSupported", "the storage driver shows no file system on this machine"
    told = "; ".join(str(error) for error in obstacles)
    return Unavailable(f"{why}: {told}" if told else why, reason=reason)
