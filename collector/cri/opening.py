"""Finding the CRI runtime of this node, and opening it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from anyio import to_thread

from collector.cri._proto import runtime_pb2 as cri
from collector.cri.channel import Channel, open_channel
from collector.cri.runtime import CriRuntime
from collector.runtimes.endpoints import ENDPOINT, Endpoint, look, named, usual
from forensics_core.errors import (
    ContainerGone,
    ContainerNotFound,
    ForensicsError,
    RuntimeNotFound,
    RuntimeUnavailable,
)

PROGRAMS = {"containerd": "containerd", "cri-o": "crio"}
"""The schemes of container IDs, and the programs that they are of."""
PATIENCE = 10.0
"""Seconds that a runtime may take to say who it is."""


@asynccontextmanager
async def open_cri(scheme: str, container: str = "") -> AsyncIterator[CriRuntime]:
    """Open the runtime of containers with `scheme`: the named one, or one of those that answer.

    Where several do, as where Docker's own containerd runs beside the cluster's, it is the one that
    knows `container`, a reference. Raises `RuntimeNotFound` where there is none at all, and
    `RuntimeUnavailable` with what each of them said.
    """
    endpoint = await to_thread.run_sync(named)
    places = [endpoint] if endpoint else await to_thread.run_sync(look, PROGRAMS[scheme])
    said: list[str] = []
    strangers: list[CriRuntime] = []
    async with AsyncExitStack() as stack:
        for place in places:
            runtime = await _try(stack, scheme, place, said)
            if runtime is None:
                continue
            if len(places) == 1 or not container or await _knows(runtime, container):
                yield runtime
                return
            strangers.append(runtime)
        if not strangers:
            raise _nowhere(scheme, said)
        # None of them knows it: the first one says so, in its own words.
        yield strangers[0]


async def _try(
    stack: AsyncExitStack, scheme: str, place: Endpoint, said: list[str]
) -> CriRuntime | None:
    """Open the runtime at one place; where that fails, note why."""
    async with AsyncExitStack() as opening:
        try:
            runtime = await _open(opening, scheme, place)
        except ForensicsError as error:
            said.append(str(error))
        except OSError as error:
            said.append(f"{place.socket} cannot be opened: {error.strerror or error}.")
        else:
            stack.push_async_callback(opening.pop_all().aclose)
            return runtime
    return None


async def _knows(runtime: CriRuntime, container: str) -> bool:
    try:
        await runtime.find(container)
    except (ContainerNotFound, ContainerGone):
        return False
    return True


async def _open(stack: AsyncExitStack, scheme: str, place: Endpoint) -> CriRuntime:
    path = stack.enter_context(place.reach())
    channel = await stack.enter_async_context(open_channel(path, place.socket))
    said = await _version(channel)
    if said.runtime_name != scheme:
        raise RuntimeUnavailable(
            f"The container runtime at {place.socket} is {said.runtime_name}, not {scheme}",
            hint=f"Name the container as {said.runtime_name}://ID, or another socket",
        )
    name = f"{said.runtime_name} {said.runtime_version}"
    return CriRuntime(channel, scheme, place.host, name)


async def _version(channel: Channel) -> cri.VersionResponse:
    method, request = "runtime.v1.RuntimeService/Version", cri.VersionRequest()
    return await channel.call(method, request, cri.VersionResponse, patience=PATIENCE)


def _nowhere(scheme: str, said: list[str]) -> RuntimeUnavailable:
    if said:
        return RuntimeUnavailable(
            f"No {scheme} answers: {' '.join(said)}".rstrip("."),
            hint=f"Name its socket in {ENDPOINT}, and run it as root",
        )
    return RuntimeNotFound(
        f"No {scheme} runs here: no process of it listens, and nothing is at "
        f"{usual(PROGRAMS[scheme])}",
        hint=f"Start it, or name its socket in {ENDPOINT}",
    )
