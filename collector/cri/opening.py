"""Finding the CRI runtime of this node, and opening it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from anyio import to_thread

from collector.cri._proto import runtime_pb2 as cri
from collector.cri.channel import Channel, open_channel
from collector.cri.runtime import CriRuntime
from collector.runtimes.endpoints import ENDPOINT, Endpoint, look, named, usual
from forensics_core.errors import ForensicsError, RuntimeUnavailable

PROGRAMS = {"containerd": "containerd", "cri-o": "crio"}
"""The schemes of container IDs, and the programs that they are of."""
PATIENCE = 10.0
"""Seconds that a runtime may take to say who it is."""


@asynccontextmanager
async def open_cri(scheme: str) -> AsyncIterator[CriRuntime]:
    """Open the runtime of containers with `scheme`: the named one, or the first that answers.

    Raises `RuntimeUnavailable`, with what each of them said.
    """
    endpoint = await to_thread.run_sync(named)
    places = [endpoint] if endpoint else await to_thread.run_sync(look, PROGRAMS[scheme])
    said: list[str] = []
    for place in places:
        async with AsyncExitStack() as stack:
            try:
                runtime = await _open(stack, scheme, place)
            except (ForensicsError, OSError) as error:
                said.append(str(error))
                continue
            yield runtime
            return
    raise _nowhere(scheme, said)


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
    return RuntimeUnavailable(
        f"No {scheme} runs here: none was found at {usual(PROGRAMS[scheme])}",
        hint=f"Start it, or name its socket in {ENDPOINT}",
    )
