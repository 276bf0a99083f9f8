"""A container with every trace in it, on Docker or as a pod on a private containerd::

    async with intruded("docker", folder) as container:
        for planted in container.planted: ...

Root only: the tool is put into the container from outside, through `/proc/PID/root`.
"""

from __future__ import annotations

import array
import fcntl
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from anyio import to_thread

from lab.containerd import POD_NAMESPACE, Containerd, running_containerd
from lab.docker import DockerEngine, running_docker_engine
from lab.engine import FOREVER
from lab.images import busybox_rootfs
from lab.intruder import in_kernel, in_processes, on_disk
from lab.intruder.trace import Clue, Trace, plan
from lab.process import LabError, in_thread

DOCKER, CONTAINERD = "docker", "containerd"
CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "NET_RAW", "LINUX_IMMUTABLE", "SYS_PTRACE")
"""What the container has beside the default: an intruder's luck."""
_IMMUTABLE = 0x10
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
"""ioctl_iflags(2)"""
_TOOL, _PLAN = "tmp/.tool", "tmp/.plan"


@dataclass(frozen=True, slots=True)
class PlantedTrace:
    """A trace that is there."""

    trace: Trace
    content: tuple[Clue, ...]
    known: tuple[Clue, ...]
    gap: str
    """As in the trace, with the numbers filled in."""


@dataclass(frozen=True, slots=True)
class IntrudedContainer:
    """A running container that an intruder has visited."""

    runtime: str
    id: str
    """The container's, as the runtime knows it."""
    address: str
    """As a person names it: `docker://NAME`, `containerd://NAMESPACE/POD/NAME`."""
    pid: int
    """Its first process, as this machine numbers it."""
    env: Mapping[str, str]
    """What leads the collector to the runtime."""
    planted: tuple[PlantedTrace, ...]
    refused: Mapping[str, str]
    """What could not be planted here, by the traces' titles: why."""
    engine: DockerEngine | Containerd


def catalogue(image: on_disk.Image, runtime: str) -> list[Trace]:
    """Return all traces, with words of their own each time."""
    every = [
        *on_disk.dropped(),
        *on_disk.persistent(),
        *on_disk.covered_up(image),
        *on_disk.mounted(),
        *in_processes.running(),
        *in_processes.held(),
        *in_processes.in_memory(),
        *in_kernel.sockets(),
        *in_kernel.tables(),
    ]
    return [trace for trace in every if trace.only in {"", runtime}]


@asynccontextmanager
async def intruded(
    runtime: str, folder: Path, engine: DockerEngine | Containerd | None = None
) -> AsyncIterator[IntrudedContainer]:
    """Run the container and plant the traces, for the block. Raises `LabError`.

    `engine` is one of that runtime that runs; else one is started.
    """
    if os.geteuid() != 0:
        raise LabError("Only root can put the intruder's tool into a container", hint="Be root")
    image = on_disk.new_image()
    rootfs = busybox_rootfs(folder / "rootfs")
    image.add_to(rootfs)
    tool = await to_thread.run_sync(build_tool, folder)
    async with _on(runtime, engine) as running, _container(running, rootfs, folder) as (who, place):
        pid = await running.pid(who)
        traces = catalogue(image, runtime)
        with _mutable_at_the_end(Path(f"/proc/{pid}/root"), traces):
            said = await _plant(running, who, pid, tool, traces)
            outside = _numbers(pid)
            planted = [_planted(trace, said, outside) for trace in traces]
            there = tuple(each for each in planted if isinstance(each, PlantedTrace))
            refused = {
                trace.title: why
                for trace, why in zip(traces, planted, strict=True)
                if isinstance(why, str)
            }
            yield IntrudedContainer(runtime, who, place, pid, running.env, there, refused, running)


@asynccontextmanager
async def _on(
    runtime: str, engine: DockerEngine | Containerd | None
) -> AsyncIterator[DockerEngine | Containerd]:
    if engine is not None:
        yield engine
        return
    start: AbstractAsyncContextManager[DockerEngine | Containerd]
    start = in_thread(running_containerd() if runtime == CONTAINERD else running_docker_engine())
    async with start as running:
        yield running


@asynccontextmanager
async def _container(
    engine: DockerEngine | Containerd, rootfs: Path, folder: Path
) -> AsyncIterator[tuple[str, str]]:
    """Run the container; yield its ID, and its address."""
    name, binds = f"intruded-{secrets.token_hex(4)}", _volumes(folder)
    image = await engine.import_image(rootfs)
    if isinstance(engine, Containerd):
        options = {"name": "shop", "pod": name, "capabilities": CAPABILITIES}
        async with engine.container(image, binds=binds, **options) as container:
            yield container, f"containerd://{POD_NAMESPACE}/{name}/shop"
        return
    # Not confined, as pods are not unless they ask for it.
    host = {
        "NetworkMode": "none",
        "CapAdd": [*CAPABILITIES],
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
        "Binds": [
            f"{outside}:{inside}"
            for inside, outside in binds.items()
            if inside != on_disk.ANONYMOUS
        ],
        "LogConfig": {"Type": "json-file"},
    }
    volumes: dict[str, dict[str, str]] = {on_disk.ANONYMOUS: {}}
    async with engine.container(
        image, FOREVER, name=name, HostConfig=host, Volumes=volumes
    ) as container:
        yield container, f"docker://{name}"


def _volumes(folder: Path) -> dict[str, Path]:
    """Make what is mounted; return it by where."""
    places = {
        on_disk.DATA: folder / "host-data",
        on_disk.CACHE: folder / "pods" / "0" / "volumes" / "kubernetes.io~empty-dir" / "cache",
        on_disk.ANONYMOUS: folder / "anonymous",
    }
    for place in places.values():
        place.mkdir(parents=True)
    return places


@contextmanager
def _mutable_at_the_end(root: Path, traces: Iterable[Trace]) -> Iterator[None]:
    """Take the attribute away at the end that keeps anybody from removing the container."""
    try:
        yield
    finally:
        for step in (step for trace in traces for step in trace.steps if step[0] == "immutable"):
            with suppress(OSError):
                _make_mutable(root / step[1].lstrip("/"))


def _make_mutable(path: Path) -> None:
    with path.open("rb") as file:
        flags = array.array("l", [0])
        fcntl.ioctl(file, _GET_FLAGS, flags)
        flags[0] &= ~_IMMUTABLE
        fcntl.ioctl(file, _SET_FLAGS, flags)


async def _plant(
    engine: DockerEngine | Containerd, container: str, pid: int, tool: Path, traces: list[Trace]
) -> dict[str, tuple[str, ...]]:
    """Let the tool do its work in the container; return what it said of each trace."""
    root = Path(f"/proc/{pid}/root")
    for kind, mark in ((step[0], step[1]) for trace in traces for step in trace.steps):
        if kind.startswith("exec"):
            await _execute(engine, container, mark, stays=kind == "exec")
    await to_thread.run_sync(_copy, tool, root / _TOOL)
    pipe = await to_thread.run_sync(_fill_pipe, root / _PLAN, plan(traces))
    try:
        report = await engine.exec(container, f"/{_TOOL} < /{_PLAN}")
    finally:
        os.close(pipe)
        (root / _PLAN).unlink()
    return {words[0]: tuple(words[1:]) for words in map(str.split, report.splitlines())}


def _copy(tool: Path, to: Path) -> None:
    to.write_bytes(tool.read_bytes())
    to.chmod(0o755)


def _fill_pipe(path: Path, content: bytes) -> int:
    """Make a named pipe with content, which never lies on a disk; return what keeps it."""
    os.mkfifo(path, 0o600)
    pipe = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(pipe, content)
    return pipe


async def _execute(
    engine: DockerEngine | Containerd, container: str, mark: str, *, stays: bool
) -> None:
    """Start a session whose command has the mark."""
    command = ["/bin/sh", "-c", f"{'sleep 86400' if stays else ':'}; : {mark}"]
    if isinstance(engine, Containerd):
        session = secrets.token_hex(4)
        await engine.ctr("tasks", "exec", "--detach", "--exec-id", session, container, *command)
        return
    async with engine.client() as client:
        run = await client.containers.container(container).exec(command)
        if stays:
            await run.start(detach=True)
            return
        async with run.start(detach=False) as stream:
            while await stream.read_out():
                pass


def _planted(
    trace: Trace, said: Mapping[str, tuple[str, ...]], outside: Mapping[str, str]
) -> PlantedTrace | str:
    """Return a trace with the numbers of its clues, or why it is not there."""
    told: tuple[str, ...] = ("ok", "0", "0")
    if trace.id.startswith("own-"):  # made by the first of them
        told = said["own-tcp"]
    elif not trace.steps[0][0].startswith("exec"):
        told = said.get(trace.id, ("error", "no answer"))
    if told[0] != "ok":
        return " ".join(told[1:])
    _, pid, number = told
    fill = partial(_fill, number=number)
    gap = trace.gap.replace("{pid}", outside.get(pid, "0")).replace("{number}", number)
    return PlantedTrace(trace, tuple(map(fill, trace.content)), tuple(map(fill, trace.known)), gap)


def _fill(clue: Clue, number: str) -> Clue:
    anchor, near = (text.replace("{number}", number) for text in (clue.anchor, clue.near))
    return replace(clue, anchor=anchor, near=near)


def _numbers(container: int) -> dict[str, str]:
    """Return what this machine calls the processes of a container, by what they are called there.

    `container` is the first one of them.
    """
    space, found = Path(f"/proc/{container}/ns/pid").readlink(), dict[str, str]()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "ns/pid").readlink() == space:
                lines = (process / "status").read_text().splitlines()
                inner = next(line for line in lines if line.startswith("NSpid:")).split()[-1]
                found[inner] = process.name
    return found


_SOURCES = Path(__file__).parent


def build_tool(folder: Path) -> Path:
    """Compile the tool into a folder, and return its path. Raises `LabError`."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise LabError("There is no C compiler", hint="Install the packages gcc and libc6-dev")
    program = folder / "intruder"
    sources = sorted(map(str, _SOURCES.glob("*.c")))
    command = [compiler, "-static", "-O1", "-o", str(program)]
    done = subprocess.run([*command, *sources], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"The intruder's tool could not be compiled: {done.stderr.strip()[-500:]}")
    return program
