"""The Docker Engine as a `Runtime`, through its API.

`DOCKER_HOST` says where it is, as for every Docker client; `collector.docker.opening` looks for it
where nothing does::

    async with open_docker() as runtime:
        container = await runtime.find("docker://web")

Source: https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from urllib.parse import quote

import aiohttp
from aiodocker import Docker
from anyio import to_thread

from collector.docker import images
from collector.docker import logs as dockerlogs
from collector.docker.answers import (
    described,
    events_of,
    exec_session,
    listed,
    refusal,
    streamed,
    unreachable,
)
from collector.docker.logs import nanoseconds, stamp
from collector.docker.storage import log_names, storage
from collector.documents import rows
from collector.files import view
from collector.files.changes import OpenLayers
from collector.files.logfiles import TIMEOUT as LOGS_TIMEOUT
from collector.files.logfiles import LogFiles, open_logs, reason
from collector.layers.promised import ImageLayers
from collector.node.abandonable import run_abandonable
from collector.node.host import Host
from collector.runtimes.endpoints import Endpoint
from collector.runtimes.runtime import (
    ContainerInfo,
    ListedContainer,
    LogStream,
    RuntimeChange,
    RuntimeEvents,
    RuntimeProcesses,
    Unavailable,
    refuse_sandboxed,
    split_reference,
)
from forensics_core.errors import (
    ContainerGone,
    ContainerNotFound,
    RuntimeUnavailable,
    UsageError,
)

DEFAULT_SOCKET = "/var/run/docker.sock"
DEFAULT_HOST = f"unix://{DEFAULT_SOCKET}"
MAX_EXECS = 200
"""Exec sessions of one container that are asked for."""
READ_BUFFER = 1024 * 1024
"""Bytes of an answer that may wait to be read."""
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
"""Seconds after which an engine that says nothing is given up."""
WALK_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
"""The same where it first walks through a whole file system, and may be long about it."""

_SCHEMES = ("unix://", "tcp://", "http://", "https://")
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError)
"""What reading an answer raises that no engine gives."""
_ALL = "containers/json?all=1"
_KINDS = {0: "C", 1: "A", 2: "D"}


@asynccontextmanager
async def open_docker(host: str | None = None) -> AsyncIterator[DockerRuntime]:
    """Open the engine at `host`, a URL as in `DOCKER_HOST`; that one's or the usual one if None.

    Raises `UsageError` for a URL that leads nowhere.
    """
    url = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    async with _client(url, url) as client:
        yield DockerRuntime(client, url)


@asynccontextmanager
async def open_docker_at(endpoint: Endpoint) -> AsyncIterator[DockerRuntime]:
    """Open the engine that listens at a socket of its machine. Raises `RuntimeUnavailable`."""
    where = f"unix://{endpoint.socket}"
    try:
        with endpoint.reach() as path:
            async with _client(f"unix://{path}", where) as client:
                yield DockerRuntime(client, where, endpoint.host)
    except OSError as error:
        raise unreachable(error, where) from error


@asynccontextmanager
async def _client(url: str, shown: str) -> AsyncIterator[Docker]:
    if not url.startswith(_SCHEMES):
        raise UsageError(
            f"DOCKER_HOST='{shown}' leads nowhere: only unix:// and tcp:// are understood",
            hint=f"Write it as {DEFAULT_HOST}, or run this on the engine's machine",
        )
    try:
        client = Docker(url=url, timeout=TIMEOUT)
    except (ValueError, OSError) as error:
        raise UsageError(
            f"DOCKER_HOST='{shown}' leads nowhere: {error}", hint=f"Write it as {DEFAULT_HOST}"
        ) from error
    async with client:
        yield client


class DockerRuntime:
    """A Docker Engine that is open for reading."""

    scheme = "docker"

    def __init__(self, client: Docker, host: str, machine: Host | None = None) -> None:
        self._client = client
        self.host = host
        self._machine = machine or Host()

    @property
    def machine(self) -> Host | None:
        """The machine that the engine runs on; None if it is another one."""
        return None if self.remote else self._machine

    async def version(self) -> str:
        """Return `docker` and the engine's version."""
        with self._understanding(ContainerGone):
            return f"docker {json.loads(await self._read('version'))['Version']}"

    async def list(self) -> list[ListedContainer]:
        """Return every container, those of pods with the pod's name."""
        with self._understanding(ContainerGone):
            return [listed(row) for row in json.loads(await self._read(_ALL))]

    async def find(self, reference: str) -> ContainerInfo:
        """Return the container of that name, ID, or beginning of an ID.

        Raises `UsageError` where it runs in a sandbox of its own.
        """
        key = split_reference(reference)[1]
        try:
            container = await self._describe(quote(key, safe=""))
        except ContainerGone:
            raise await self._unknown(key) from None
        config = json.loads(container.document).get("HostConfig") or {}
        refuse_sandboxed(container.name, str(config.get("Runtime", "")))
        return container

    async def inspect(self, container: ContainerInfo) -> ContainerInfo:
        """Return what the engine says of the container now."""
        return await self._describe(container.key)

    async def _describe(self, key: str) -> ContainerInfo:
        with self._understanding():
            return described(await self._read(f"containers/{key}/json"))

    async def image(self, container: ContainerInfo) -> bytes:
        """Return what the engine says of the container's image."""
        return await self._read(f"images/{quote(container.image_id, safe=':')}/json")

    @asynccontextmanager
    async def changes(
        self, container: ContainerInfo
    ) -> AsyncIterator[AsyncIterator[RuntimeChange]]:
        """Read the engine's list of differences, as `docker diff` shows it."""
        async with self._get(f"containers/{container.key}/changes", WALK_TIMEOUT) as blocks:
            yield (
                RuntimeChange(_KINDS[row["Kind"]], row["Path"])  # type: ignore[arg-type]  # three literals
                async for row in rows(blocks)
            )

    @asynccontextmanager
    async def log_files(self, container: ContainerInfo) -> AsyncIterator[LogFiles]:
        """Open the logs in the container's folder beneath the engine's data folder."""
        self._require_local()
        view.require_root()
        find = (log_names, self._machine, container)
        try:
            names = await run_abandonable(LOGS_TIMEOUT, "the logs", *find)
        except OSError as error:
            raise Unavailable(
                f"The folder of the logs cannot be read: {error}", reason=reason(error)
            ) from error
        async with open_logs(self._machine, names) as logs:
            yield logs

    async def compare_logs(self, container: ContainerInfo, logs: LogFiles) -> str:
        """Return how `docker logs` differs from the files of the driver `json-file`."""
        console = LogStream.CONSOLE in container.log_streams

        async def shown(until: str) -> int:
            query = f"stdout=1&stderr=1&until={until}"
            async with self._log(container, query, console=console) as blocks:
                return sum([len(block) async for block in blocks])

        return await dockerlogs.difference(logs, shown)

    @asynccontextmanager
    async def logs(
        self, container: ContainerInfo, stream: LogStream
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read one log, as `docker logs --timestamps` shows it."""
        with self._understanding(ContainerGone):
            now = nanoseconds(json.loads(await self._read("info"))["SystemTime"])
        wanted = "stderr" if stream is LogStream.STDERR else "stdout"
        query = f"{wanted}=1&timestamps=1&until={stamp(now)}"
        async with self._log(container, query, console=stream is LogStream.CONSOLE) as blocks:
            yield blocks

    @asynccontextmanager
    async def _log(
        self, container: ContainerInfo, query: str, *, console: bool
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._get(f"containers/{container.key}/logs?{query}") as blocks:
            yield blocks if console else dockerlogs.payloads(blocks)

    @asynccontextmanager
    async def export(self, container: ContainerInfo) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read the archive that `docker export` makes."""
        async with self._get(f"containers/{container.key}/export", WALK_TIMEOUT) as blocks:
            yield blocks

    @asynccontextmanager
    async def root(self, container: ContainerInfo) -> AsyncIterator[int]:
        """Open the file system beneath the engine's data folder, or through the process."""
        async with view.open_root(container, await self._storage(container), self._machine) as root:
            yield root

    @asynccontextmanager
    async def layers(self, container: ContainerInfo) -> AsyncIterator[OpenLayers]:
        """Open the layers beneath the engine's data folder."""
        async with view.open_layers(await self._storage(container), self._machine) as layers:
            yield layers

    async def image_layers(self, container: ContainerInfo) -> ImageLayers:
        """Return what the image promises of the layers of the engine's overlay."""
        place, image = await self._storage(container), await self.image(container)
        with self._understanding():
            return await images.promised(container, image, place, self._machine)

    async def _storage(self, container: ContainerInfo) -> view.RuntimeStorage:
        self._require_local()
        return await to_thread.run_sync(storage, container, self._machine)

    async def runtime_processes(self, container: ContainerInfo) -> RuntimeProcesses:
        """Return the engine's exec sessions; it forgets those that ended some minutes ago."""
        with self._understanding():
            said = json.loads(await self._read(f"containers/{container.key}/json"))
            keys = [str(key) for key in said.get("ExecIDs") or ()]
        found = []
        for key in keys[:MAX_EXECS]:
            with suppress(ContainerGone), self._understanding():
                found.append(exec_session(await self._read(f"exec/{quote(key, safe='')}/json")))
        return RuntimeProcesses(execs=tuple(found), omitted=len(keys) - len(found))

    async def events(self, containers: Sequence[ContainerInfo], seconds: int) -> RuntimeEvents:
        """Return what the engine remembers, which is its last 256 events, of all that it does."""
        with self._understanding(ContainerGone):
            now = nanoseconds(json.loads(await self._read("info"))["SystemTime"])
        since, until = stamp(now - seconds * 10**9), stamp(now)
        # All of them: only their number says whether there were more.
        told = await self._read(f"events?since={since}&until={until}")
        with self._understanding(ContainerGone):
            return events_of(told, {container.key for container in containers})

    async def process(self, container: ContainerInfo) -> int:
        """Return the first process's ID, if it is one of this machine."""
        if container.pid is not None:
            self._require_local()
        return await view.local_process(container)

    async def pause(self, container: ContainerInfo) -> None:
        """Freeze the container's processes."""
        await self._ask(f"containers/{container.key}/pause")

    async def resume(self, container: ContainerInfo) -> None:
        """Let the container's processes go on."""
        await self._ask(f"containers/{container.key}/unpause")

    async def _ask(self, path: str) -> None:
        try:
            answer = await self._client.session.post(f"{self._client.docker_host}/{path}")
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error, self.host) from error
        async with answer:
            if answer.status >= 400:
                raise refusal(answer.status, await answer.read())

    @contextmanager
    def _understanding(self, *nonsense: type[Exception]) -> Iterator[None]:
        """Raise `RuntimeUnavailable` where an answer is not what an engine says."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, (*_MALFORMED, *nonsense)):
                raise
            raise RuntimeUnavailable(
                f"What answers at {self.host} is not a Docker Engine",
                hint="See whether DOCKER_HOST is right",
            ) from error

    def _require_local(self) -> None:
        if self.remote:
            raise Unavailable("The engine runs on another machine", reason="Remote")

    @property
    def remote(self) -> bool:
        """Whether the engine is reached over a network."""
        return not self.host.startswith("unix://")

    async def _read(self, path: str) -> bytes:
        async with self._get(path) as blocks:
            return b"".join([block async for block in blocks])

    @asynccontextmanager
    async def _get(
        self, path: str, limits: aiohttp.ClientTimeout = TIMEOUT
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        # Without a version in front of the path the engine answers in its newest one.
        url = f"{self._client.docker_host}/{path}"
        try:
            answer = await self._client.session.get(url, read_bufsize=READ_BUFFER, timeout=limits)
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error, self.host) from error
        async with answer:
            if answer.status >= 400:
                raise refusal(answer.status, await answer.read())
            yield streamed(answer)

    async def _unknown(self, key: str) -> ContainerNotFound:
        with self._understanding(ContainerGone):
            listed = json.loads(await self._read(_ALL))
            names = [name.removeprefix("/") for row in listed for name in row.get("Names") or ()]
        near = difflib.get_close_matches(key, names, n=3) or sorted(names)[:5]
        return ContainerNotFound(
            f"The Docker Engine knows no container '{key}'",
            hint=f"It has {', '.join(near)}" if near else "It has no containers at all",
        )
