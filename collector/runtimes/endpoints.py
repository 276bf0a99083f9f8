"""Where container runtimes listen: found by looking at what runs, or named.

The kernel knows on which sockets a runtime's process listens, however it was configured. What its
command line or its configuration say counts where the kernel does not tell. The endpoint that the
kubelet was given comes first. A process only counts if it is outside of all containers: anything
may call itself containerd.

Source: unix(7), proc_net(5), include/linux/net.h (`SO_ACCEPTCON`)
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from collector.files.beneath import opened
from collector.node.host import Host
from collector.node.procfs import HOST_PROC, Process, pids
from forensics_core.errors import UsageError

_NONSENSE = (OSError, ValueError, LookupError, TypeError)
"""What configuration files raise that are not there, or not what they should be."""
_LISTENING = re.compile(
    rb"[0-9A-Fa-f]+: [0-9A-F]{8} [0-9A-F]{8} 0001[0-9A-F]{4} 0001 [0-9A-F]{2} +(\d+) (/.*)"
)
"""A row of /proc/net/unix: a stream socket that accepts connections, its inode and its path."""
_INTERNAL = (b".ttrpc", b"debug.sock")
"""How sockets of containerd end that speak no CRI."""
_KUBELET = re.compile(rb"""containerRuntimeEndpoint["']?:\s*["']?([^"'\s,}]+)""")
_CONTAINER = re.compile(r"kubepods|[0-9a-f]{64}|pod[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f-_]+")

ENDPOINT = "FORENSICS_RUNTIME_ENDPOINT"
"""The environment variable that names the runtime's socket: `unix:///run/crio/crio.sock`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Unix socket that a runtime may listen on."""

    socket: str
    """Its path on the runtime's machine."""
    host: Host = field(default_factory=Host)

    @contextmanager
    def reach(self) -> Iterator[str]:
        """Yield a path to connect to, short enough for any socket. Raises `OSError`."""
        with opened(self.host.open(self.socket)) as place:
            yield f"/proc/self/fd/{place}"


@dataclass(frozen=True, slots=True)
class _Program:
    """How a runtime's program says where it listens."""

    options: tuple[str, ...]
    config_options: tuple[str, ...]
    config: str
    address: Callable[[bytes], Any]
    """Finds the address in a configuration file."""
    usual: tuple[str, ...]
    more: Callable[[bytes], list[str]] = lambda _: []
    """Finds the patterns of further files that override this one."""


def _toml(*names: str) -> Callable[[bytes], Any]:
    def find(content: bytes) -> Any:
        value: Any = tomllib.loads(content.decode())
        for name in names:
            value = value[name]
        return value

    return find


def _either(*ways: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def find(content: bytes) -> Any:
        for way in ways[:-1]:
            with suppress(LookupError, TypeError):
                return way(content)
        return ways[-1](content)

    return find


_CONTAINERD = _Program(
    ("--address", "-a"),
    ("--config", "-c"),
    "/etc/containerd/config.toml",
    _either(
        _toml("plugins", "io.containerd.server.v1.grpc", "address"),  # version 4
        _toml("grpc", "address"),
    ),
    ("/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock"),
    _toml("imports"),
)
_CRIO = _Program(
    ("--listen",),
    ("--config", "-c"),
    "/etc/crio/crio.conf",
    _toml("crio", "api", "listen"),
    ("/var/run/crio/crio.sock",),
    lambda _: ["/etc/crio/crio.conf.d/*"],
)
_DOCKERD = _Program(
    ("--host", "-H"),
    ("--config-file",),
    "/etc/docker/daemon.json",
    lambda content: json.loads(content)["hosts"],
    ("/var/run/docker.sock",),
)
PROGRAMS = {"containerd": _CONTAINERD, "crio": _CRIO, "dockerd": _DOCKERD}


def named() -> Endpoint | None:
    """Return the endpoint that the environment names. Raises `UsageError` for no Unix socket.

    In a Job it is a path on the node, whose file system is that of a runtime's process.
    """
    text = os.environ.get(ENDPOINT, "")
    if not text:
        return None
    path = text.removeprefix("unix://")
    if not path.startswith("/"):
        raise UsageError(f"{ENDPOINT}='{text}' is no Unix socket", hint="Write unix:///PATH")
    hosts = [Host.of(pid) for name in PROGRAMS for pid in _running(name)] if in_job() else []
    return Endpoint(path, next((host for host in hosts if _has(host, path)), Host()))


def in_job() -> bool:
    """Whether this process runs beside the containers' machine, with only its /proc."""
    return bool(os.environ.get(HOST_PROC))


def look(*programs: str) -> list[Endpoint]:
    """Return the sockets of the programs that run, then the usual ones that exist; each once."""
    found: list[Endpoint] = []
    for name in programs:
        for pid in _running(name):
            host = Host.of(pid)
            found += [Endpoint(path, host) for path in _listening(pid)]
            said = _sockets(PROGRAMS[name], pid, host)
            found += [Endpoint(path, host) for path in said if _has(host, path)]
    if not in_job():
        usual = (path for name in programs for path in PROGRAMS[name].usual)
        known = {endpoint.socket for endpoint in found}
        found += [Endpoint(path) for path in usual if path not in known and Path(path).exists()]
    first = _of_the_kubelet()
    return sorted(dict.fromkeys(found), key=lambda each: each.socket not in first)


def _listening(pid: int) -> list[str]:
    """Return the paths of the sockets that a process listens on, those for its own use left out.

    An abstract one has no path that could be reached in another network namespace.
    """
    try:
        with Process.open(pid) as process:
            own = set()
            for descriptor in process.numbers("fd"):
                with suppress(OSError):
                    own.add(process.link(f"fd/{descriptor}"))
            table = process.read("net/unix")
    except OSError:
        return []
    paths = []
    for line in table.split(b"\n"):
        match = _LISTENING.fullmatch(line)
        if match and b"socket:[%s]" % match[1] in own and not match[2].endswith(_INTERNAL):
            paths.append(os.fsdecode(match[2]))
    return paths


def _of_the_kubelet() -> set[str]:
    """Return the endpoint that the kubelet of this machine was told to use, if it says so."""
    found = set()
    for pid in _running("kubelet"):
        arguments, host = _arguments(pid), Host.of(pid)
        said = _values(arguments, ["--container-runtime-endpoint"])
        for config in _values(arguments, ["--config"])[-1:]:
            with suppress(OSError):
                said += [
                    os.fsdecode(match[1])
                    for match in _KUBELET.finditer(host.read(_absolute(pid, config)))
                ]
        found |= {text.removeprefix("unix://") for text in said}
    return found


def _absolute(pid: int, path: str) -> str:
    """Return a path that a process was given, which may be relative to where it works."""
    if path.startswith("/"):
        return path
    with suppress(OSError), Process.open(pid) as process:
        return str(PurePosixPath(os.fsdecode(process.link("cwd"))) / path)
    return path


def usual(*programs: str) -> str:
    """Return where the programs listen if nobody says otherwise, for people."""
    return ", ".join(path for name in programs for path in PROGRAMS[name].usual)


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
            if process.read("comm").strip() == name.encode() and _outside(process):
                found.append((process.link("exe").endswith(b" (deleted)"), pid))
    return [pid for _, pid in sorted(found)]


def _outside(process: Process) -> bool:
    """Return whether a process is the machine's own, or in the same container as we are by hand."""
    contained = _containers(process)
    if contained and not in_job():
        with Process.open(os.getpid(), Path("/proc")) as ours:
            contained -= _containers(ours)
    return not contained and not process.nested and process.owner == 0


def _containers(process: Process) -> set[str]:
    """Return the parts of its cgroups' paths that stand for pods and containers.

    A path begins at our own cgroup where that is a namespace, so `kubepods` may not occur in it.
    """
    return {found for path in process.cgroups().values() for found in _CONTAINER.findall(path)}


def _arguments(pid: int) -> list[str]:
    with suppress(OSError), Process.open(pid) as process:
        return [os.fsdecode(part) for part in process.read("cmdline").split(b"\0")[1:]]
    return []


def _sockets(program: _Program, pid: int, host: Host) -> list[str]:
    arguments = _arguments(pid)
    said = _values(arguments, program.options)
    if not said:
        config = _values(arguments, program.config_options) or [program.config]
        for content in _contents(program, _absolute(pid, config[-1]), host):
            with suppress(*_NONSENSE):
                address = program.address(content)
                said = [address] if isinstance(address, str) else [str(each) for each in address]
    paths = [text.removeprefix("unix://") for text in said]
    return [path for path in paths if path.startswith("/")] or [*program.usual]


def _contents(program: _Program, config: str, host: Host) -> Iterator[bytes]:
    """Yield the configuration files, those that override others last."""
    content = b""
    with suppress(OSError):
        content = host.read(config)
        yield content
    with suppress(*_NONSENSE):
        for pattern in program.more(content):
            for path in host.matching(str(PurePosixPath(config).parent / pattern)):
                yield host.read(path)


def _values(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return what stands behind any of the options, as `--name value` or `--name=value`."""
    found = []
    for number, argument in enumerate(arguments):
        name, mark, value = argument.partition("=")
        if name in options:
            found.append(value if mark else "".join(arguments[number + 1 : number + 2]))
    return found
