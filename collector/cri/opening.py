"""Finding the CRI runtime of this node, and opening it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack

from anyio import to_thread

from collector.cri._proto import runtime_pb2 as cri
from collector.cri.channel import GrpcChannel, Unimplemented, open_channel
from collector.cri.runtime import CriRuntime
from collector.runtimes.endpoints import Endpoint, named
from collector.runtimes.search import FINDING, RuntimeFinder, RuntimeSearch, chosen_runtime
from forensics_core.errors import ForensicsError, RuntimeNotFound

PROGRAMS = {"containerd": "containerd", "cri-o": "crio"}
"""The schemes of container IDs, and the programs that they are of."""


class OtherRuntime(RuntimeNotFound):
    """What answers at a socket is another runtime."""


def open_cri(
    scheme: str, container: str = "", finding: RuntimeFinder = FINDING
) -> AbstractAsyncContextManager[CriRuntime]:
    """Open the runtime of containers with `scheme`: the named one, or one of those that answer.

    Where several do, as where Docker's own containerd runs beside the cluster's, it is the one that
    knows `container`, a reference. Raises `RuntimeNotFound` where there is none at all, and
    `RuntimeUnavailable` where one may answer later, with what each of them said.
    """

    async def choose(stack: AsyncExitStack, container: str) -> CriRuntime:
        endpoint = await to_thread.run_sync(named)
        places = (
            [endpoint] if endpoint else await to_thread.run_sync(finding.look, PROGRAMS[scheme])
        )
        search = RuntimeSearch[CriRuntime](scheme, PROGRAMS[scheme])
        for place in places:
            runtime = await _try(stack, scheme, place, search, finding.seconds)
            alone = len(places) == 1 or not container
            if runtime and (alone or await search.knows(runtime, container)):
                return runtime
        return await search.end()

    return chosen_runtime(choose, container, finding)


async def _try(
    stack: AsyncExitStack,
    scheme: str,
    place: Endpoint,
    search: RuntimeSearch[CriRuntime],
    seconds: float,
) -> CriRuntime | None:
    """Open the runtime at one place; where that fails, note why."""
    async with AsyncExitStack() as opening:
        try:
            runtime = await _open(opening, scheme, place, seconds)
        except ForensicsError as error:
            search.note(str(error), final=isinstance(error, Unimplemented | OtherRuntime))
        except OSError as error:
            why = f"{place.socket} cannot be opened: {error.strerror or error}."
            search.note(why, final=place.abstract)
        else:
            stack.push_async_callback(opening.pop_all().aclose)
            return runtime
    return None


async def _open(stack: AsyncExitStack, scheme: str, place: Endpoint, seconds: float) -> CriRuntime:
    path = stack.enter_context(place.reach())
    channel = await stack.enter_async_context(open_channel(path, place.socket))
    said = await _version(channel, seconds)
    if said.runtime_name != scheme:
        raise OtherRuntime(
            f"The container runtime at {place.socket} is {said.runtime_name}, not {scheme}",
            hint=f"Name the container as {said.runtime_name}://ID, or another socket",
        )
    name = f"{said.runtime_name} {said.runtime_version}"
    return CriRuntime(channel, scheme, place.host, name)


async def _version(channel: GrpcChannel, seconds: float) -> cri.VersionResponse:
    method, request = "runtime.v1.RuntimeService/Version", cri.VersionRequest()
    return await channel.call(method, request, cri.VersionResponse, seconds=seconds)
