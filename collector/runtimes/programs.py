"""How the programs of runtimes say where they listen: by option, or in a configuration file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from collector.node.host import Host
from collector.node.procfs import Process

_MALFORMED = (OSError, ValueError, LookupError, TypeError)
"""What configuration files raise that are not there, or not what they should be."""


@dataclass(frozen=True, slots=True)
class Program:
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
        # Few nodes have such a file read, and its expressions take a hundredth of a start.
        import tomllib

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


_CONTAINERD = Program(
    ("--address", "-a"),
    ("--config", "-c"),
    "/etc/containerd/config.toml",
    _either(
        _toml("plugins", "io.containerd.server.v1.grpc", "address"),  # version 4
        _toml("grpc", "address"),
    ),
    (
        "/run/containerd/containerd.sock",
        "/run/k3s/containerd/containerd.sock",
        "/run/k0s/containerd.sock",
        "/var/snap/microk8s/common/run/containerd.sock",
    ),
    _toml("imports"),
)
_CRIO = Program(
    ("--listen",),
    ("--config", "-c"),
    "/etc/crio/crio.conf",
    _toml("crio", "api", "listen"),
    ("/var/run/crio/crio.sock",),
    lambda _: ["/etc/crio/crio.conf.d/*"],
)
_DOCKERD = Program(
    ("--host", "-H"),
    ("--config-file",),
    "/etc/docker/daemon.json",
    lambda content: json.loads(content)["hosts"],
    ("/var/run/docker.sock",),
)
PROGRAMS = {"containerd": _CONTAINERD, "crio": _CRIO, "dockerd": _DOCKERD}


def sockets(program: Program, pid: int, host: Host) -> list[str]:
    """Return where a process of the program says that it listens, else where it usually does."""
    said = values(arguments(pid), program.options)
    if not said:
        config = values(arguments(pid), program.config_options) or [program.config]
        for content in _contents(program, absolute(pid, config[-1]), host):
            with suppress(*_MALFORMED):
                address = program.address(content)
                said = [address] if isinstance(address, str) else [str(each) for each in address]
    paths = [text.removeprefix("unix://") for text in said]
    return [path for path in paths if path.startswith("/")] or [*program.usual]


def _contents(program: Program, config: str, host: Host) -> Iterator[bytes]:
    """Yield the configuration files, those that override others last."""
    content = b""
    with suppress(OSError):
        content = host.read(config)
        yield content
    with suppress(*_MALFORMED):
        for pattern in program.more(content):
            for path in host.matching(str(PurePosixPath(config).parent / pattern)):
                yield host.read(path)


def arguments(pid: int) -> list[str]:
    """Return the arguments of a process, its own name left out; none if it has ended."""
    with suppress(OSError), Process.open(pid) as process:
        return [os.fsdecode(part) for part in process.read("cmdline").split(b"\0")[1:]]
    return []


def values(given: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return what stands behind any of the options, as `--name value` or `--name=value`."""
    found = []
    for number, argument in enumerate(given):
        name, mark, value = argument.partition("=")
        if name in options:
            found.append(value if mark else "".join(given[number + 1 : number + 2]))
    return found


def absolute(pid: int, path: str) -> str:
    """Return a path that a process was given, which may be relative to where it works."""
    if path.startswith("/"):
        return path
    with suppress(OSError), Process.open(pid) as process:
        return str(PurePosixPath(os.fsdecode(process.link("cwd"))) / path)
    return path
