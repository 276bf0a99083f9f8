"""Where container runtimes listen: found by looking at what runs, or named.

The kernel knows on which sockets a runtime's process listens, however it was configured. What its
command line or its configuration say is looked at besides. The endpoint that the kubelet was given
comes first. A process only counts if it is outside of all containers: anything may call itself
containerd.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from collector.files.safe_open import opened
from collector.node.host import Host
from collector.node.listening import listening
from collector.node.procfs import HOST_PROC, Process, pids
from collector.runtimes import kubelet, programs
from collector.runtimes.programs import PROGRAMS
from forensics_core.errors import UsageError

_INTERNAL = re.compile(
    rb".*(\.ttrpc|debug\.sock|nri\.sock|/libnetwork/[^/]*|metrics\.sock)", re.DOTALL
)
"""Sockets of runtimes that are for their own use."""
_CONTAINER = re.compile(r"kubepods|[0-9a-f]{64}|pod[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f-_]+")
_MAX_NAMED = 5
"""Processes that a message names at most: a container may start any number."""

ENDPOINT = "FORENSICS_RUNTIME_ENDPOINT"
"""The environment variable that names the runtime's socket: `unix:///run/crio/crio.sock`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Unix socket that a runtime may listen on."""

    socket: str
    """Its path on the runtime's machine; an abstract one begins with `@`."""
    host: Host = field(default_factory=Host)

    @property
    def abstract(self) -> bool:
        """Whether it has a name in its network namespace, and no file."""
        return self.socket.startswith("@")

    @contextmanager
    def reach(self) -> Iterator[str]:
        """Yield a path to connect to, short enough for any socket. Raises `OSError`."""
        if self.abstract:
            raise OSError(errno.ENOTSUP, "it is abstract, so only its own network can reach it")
        with opened(self.host.open(self.socket)) as place:
            yield f"/proc/self/fd/{place}"

    def file(self) -> object:
        """Return what two endpoints have in common that are one file, whatever path leads there."""
        try:
            with opened(self.host.open(self.socket)) as place:
                there = os.fstat(place)
        except OSError:
            return self.socket
        return there.st_dev, there.st_ino


def same_place(endpoint: Endpoint, path: str) -> bool:
    """Return whether an endpoint is at `path` of its machine, by whatever name it was found."""
    return endpoint.file() == Endpoint(path, endpoint.host).file()


def named() -> Endpoint | None:
    """Return the endpoint that the environment names. Raises `UsageError` for no Unix socket.

    In a Job it is a path on the node, whose file system is that of a runtime's process.
    """
    text = os.environ.get(ENDPOINT, "")
    if not text:
        return None
    path = text.removeprefix("unix://")
    if not path.startswith("/"):
        raise UsageError(f"{ENDPOINT}='{text}' is not a Unix socket", hint="Write unix:///PATH")
    hosts = [Host.of(pid) for name in PROGRAMS for pid in _running(name)] if in_job() else []
    return Endpoint(path, next((host for host in hosts if _has(host, path)), Host()))


def in_job() -> bool:
    """Whether this process runs beside the containers' machine, with only its /proc."""
    return bool(os.environ.get(HOST_PROC))


def look(*names: str) -> list[Endpoint]:
    """Return the sockets of the programs that run, then the usual ones that exist; each once.

    What the kubelet was given comes first, also where nothing of these names listens there.
    """
    found = [each for name in names for pid in _running(name) for each in _of(name, pid)]
    if not in_job():
        usual = (path for name in names for path in PROGRAMS[name].usual)
        known = {endpoint.socket for endpoint in found}
        found += [Endpoint(path) for path in usual if path not in known and Path(path).exists()]
    # To Docker its own engine speaks, which no kubelet names.
    given = {} if names == ("dockerd",) else {each.file(): each for each in _of_kubelets()}
    there = {each.file() for each in found}
    alone = [each for file, each in given.items() if file not in there]
    ordered = alone + sorted(found, key=lambda each: each.file() not in given)
    once: dict[tuple[object, Host], Endpoint] = {}
    for each in ordered:
        once.setdefault((each.file(), each.host), each)
    return [*once.values()]


def unusable_namesakes(*names: str) -> list[str]:
    """Return which processes are called like the programs and do not count, and why, for people."""
    said = []
    for name in names:
        for pid in pids():
            with suppress(OSError), Process.open(pid) as process:
                if process.read("comm").strip() == name.encode() and (why := _not_ours(process)):
                    said.append(f"Process {pid} is called {name} and {why}.")
    more = len(said) - _MAX_NAMED
    return said[:_MAX_NAMED] + ([f"So are {more} more."] if more > 0 else [])


def usual(*names: str) -> str:
    """Return where the programs listen if nobody says otherwise, for people."""
    return ", ".join(path for name in names for path in PROGRAMS[name].usual)


def _of(name: str, pid: int) -> Iterator[Endpoint]:
    """Yield where one process listens, as the kernel knows, and then as it says itself."""
    host = Host.of(pid)
    with suppress(OSError), Process.open(pid) as process:
        for path in listening(process):
            if _INTERNAL.fullmatch(path):
                continue
            text = os.fsdecode(path)
            abstract = text.startswith("\0")
            yield Endpoint(f"@{text[1:]}" if abstract else programs.absolute(pid, text), host)
    for said in programs.sockets(PROGRAMS[name], pid, host):
        if _has(host, said):
            yield Endpoint(said, host)


def _of_kubelets() -> list[Endpoint]:
    """Return the endpoints that this machine's kubelet was told to use, if it says so."""
    found = []
    for name in kubelet.KUBELETS:
        for pid in _running(name):
            host = Host.of(pid)
            path = kubelet.endpoint(name, pid, host)
            if path.startswith("/") and _has(host, path):
                found.append(Endpoint(path, host))
    return found


def _has(host: Host, path: str) -> bool:
    try:
        os.close(host.open(path))
    except OSError:
        return False
    return True


def _running(name: str) -> list[int]:
    """Return root's processes of that name that are in no container.

    Last come those whose program was deleted: a newer one may have replaced it, or it is a lie.
    """
    found = []
    for pid in pids():
        with suppress(OSError), Process.open(pid) as process:
            if process.read("comm").strip() == name.encode() and not _not_ours(process):
                found.append((process.link("exe").endswith(b" (deleted)"), pid))
    return [pid for _, pid in sorted(found)]


def _not_ours(process: Process) -> str:
    """Return why a process cannot be a runtime of the machine itself; '' if it may be.

    By hand it may be in the same container as we are.
    """
    contained = _containers(process)
    if contained and not in_job():
        with Process.open(os.getpid(), Path("/proc")) as ours:
            contained -= _containers(ours)
    if contained or process.nested:
        return "runs in a container"
    return "" if process.owner == 0 else "is not root's"


def _containers(process: Process) -> set[str]:
    """Return the parts of its cgroups' paths that stand for pods and containers.

    A path begins at our own cgroup where that is a namespace, so `kubepods` may not occur in it.
    """
    return {found for path in process.cgroups().values() for found in _CONTAINER.findall(path)}
