"""Finding the Docker Engine of this machine, and opening it."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial

import anyio
from anyio import to_thread

from collector.docker.runtime import DockerRuntime, open_docker, open_docker_at
from collector.runtimes.endpoints import Endpoint, named, same_place
from collector.runtimes.programs import PROGRAMS
from collector.runtimes.search import FINDING, RuntimeFinder, RuntimeSearch, chosen_runtime
from forensics_core.errors import RuntimeUnavailable, SourceError


def open_engine(
    container: str = "", finding: RuntimeFinder = FINDING
) -> AbstractAsyncContextManager[DockerRuntime]:
    """Open the engine that `DOCKER_HOST` or the settings name, or one of those that answer.

    Where several run, it is the one that knows `container`, a reference. Raises `RuntimeNotFound`
    where there is none at all, and `RuntimeUnavailable` where one may answer later, with what each
    of them said.
    """
    if os.environ.get("DOCKER_HOST"):
        return open_docker()
    return chosen_runtime(partial(_choose, finding=finding), container, finding)


async def _choose(
    stack: AsyncExitStack, container: str, *, finding: RuntimeFinder
) -> DockerRuntime:
    endpoint = await to_thread.run_sync(named)
    if endpoint:
        return await stack.enter_async_context(open_docker_at(endpoint))
    search = RuntimeSearch[DockerRuntime]("docker", "dockerd")
    places = await to_thread.run_sync(_places, finding)
    for place in places:
        runtime = await _try(stack, place, search, finding.seconds)
        alone = len(places) == 1 or not container
        if runtime and (alone or await search.knows(runtime, container)):
            return runtime
    return await search.end()


def _places(finding: RuntimeFinder) -> list[Endpoint]:
    """Return where engines listen; that at the usual path is first, as for Docker's own client."""
    usual = PROGRAMS["dockerd"].usual[0]
    return sorted(finding.look("dockerd"), key=lambda place: not same_place(place, usual))


async def _try(
    stack: AsyncExitStack, place: Endpoint, search: RuntimeSearch[DockerRuntime], seconds: float
) -> DockerRuntime | None:
    """Open the engine at one place; where it does not answer, note why."""
    async with AsyncExitStack() as opening:
        try:
            runtime = await opening.enter_async_context(open_docker_at(place))
            with anyio.fail_after(seconds):
                await runtime.version()
        except (RuntimeUnavailable, SourceError) as error:
            search.note(str(error), final=place.abstract)
        except TimeoutError:
            search.note(f"The Docker Engine at {place.socket} said nothing for {seconds:g} s.")
        else:
            stack.push_async_callback(opening.pop_all().aclose)
            return runtime
    return None
