"""Container logs: written by who runs the pod, read and followed through `pods/<name>/log`.

A kubelet in a process of its own serves its logs at the URL of a real one, where the API server
fetches them: `/containerLogs/NAMESPACE/POD/CONTAINER`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import anyio
from aiohttp import web

from forensics_loopback.kinds.objects import Obj, is_set, name_of, namespace_of, parse_time, uid_of
from forensics_loopback.kinds.status import ApiError, bad_request


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The query parameters of a log request."""

    follow: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail: int | None = None
    """Lines from the end."""

    @classmethod
    def parse(cls, query: dict[str, str]) -> LogOptions:
        """From a request's query; raises a 400 for what is not understood."""
        try:
            since = parse_time(query["sinceTime"]) if query.get("sinceTime") else None
            if query.get("sinceSeconds"):
                since = datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
            tail = int(query["tailLines"]) if query.get("tailLines") else None
        except ValueError as error:
            raise bad_request(f"invalid log options: {error}") from error
        follow, stamps = is_set(query, "follow"), is_set(query, "timestamps")
        return cls(follow=follow, timestamps=stamps, since=since, tail=tail)


class ContainerLog:
    """The lines of one container, oldest first."""

    def __init__(self) -> None:
        self._lines: list[tuple[datetime, bytes]] = []
        self._partial = b""
        self._closed = False
        self._pulse = anyio.Event()

    def write(self, block: bytes) -> None:
        """Append output; a line counts once its end has come."""
        *lines, self._partial = (self._partial + block).split(b"\n")
        at = datetime.now(UTC)
        self._lines += [(at, line) for line in lines]
        if lines:
            self._signal()

    def close(self) -> None:
        """The container ended: who follows comes to an end."""
        if self._partial:
            self.write(b"\n")
        self._closed = True
        self._signal()

    def _signal(self) -> None:
        self._pulse.set()
        self._pulse = anyio.Event()

    async def read(self, options: LogOptions) -> AsyncIterator[bytes]:
        """The wanted lines, each with its newline; with `follow`, until the container ends."""
        position = 0
        if options.tail is not None:
            position = max(0, len(self._lines) - options.tail)
        while True:
            pulse, closed = self._pulse, self._closed
            lines, position = self._lines[position:], len(self._lines)
            wanted = [self._shown(at, line, options) for at, line in lines if _is_new(at, options)]
            if wanted:
                yield b"".join(wanted)
            if closed or not options.follow:
                return
            await pulse.wait()

    def _shown(self, at: datetime, line: bytes, options: LogOptions) -> bytes:
        stamp = at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() if options.timestamps else b""
        return stamp + line + b"\n"


def _is_new(at: datetime, options: LogOptions) -> bool:
    return options.since is None or at >= options.since


class Logs:
    """All logs, by the pod's UID and the container's name."""

    def __init__(self) -> None:
        self._logs: dict[tuple[str, str], ContainerLog] = {}
        self._pods: dict[tuple[str, str], str] = {}

    def introduce(self, pod: Obj) -> None:
        """Let the pod's logs be found by its name too."""
        self._pods[namespace_of(pod), name_of(pod)] = uid_of(pod)

    def pod_uid(self, namespace: str, name: str) -> str | None:
        """The UID of a pod that was introduced, or None."""
        return self._pods.get((namespace, name))

    def of(self, pod_uid: str, container: str) -> ContainerLog:
        """The container's log, empty where nothing was written."""
        return self._logs.setdefault((pod_uid, container), ContainerLog())

    def close(self, pod_uid: str) -> None:
        """The pod ended: who follows one of its logs comes to an end."""
        for log in [log for key, log in self._logs.items() if key[0] == pod_uid]:
            log.close()

    def forget(self, pod_uid: str) -> None:
        """The pod is gone, and its logs with it."""
        self._pods = {place: uid for place, uid in self._pods.items() if uid != pod_uid}
        for key in [key for key in self._logs if key[0] == pod_uid]:
            self._logs.pop(key).close()


async def stream(
    request: web.Request, content_type: str, blocks: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Answer a request with blocks as they come."""
    response = web.StreamResponse(headers={"Content-Type": content_type})
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for block in blocks:
        await response.write(block)
    await response.write_eof()
    return response


def application(logs: Logs) -> web.Application:
    """The kubelet's own small server."""

    async def serve(request: web.Request) -> web.StreamResponse:
        found = request.match_info
        uid = logs.pod_uid(found["namespace"], found["pod"])
        if uid is None:
            return web.Response(status=404, text=f"pod {found['pod']} is not known here\n")
        try:
            options = LogOptions.parse(dict(request.query))
        except ApiError as error:
            return web.Response(status=error.code, text=error.message)
        return await stream(request, "text/plain", logs.of(uid, found["container"]).read(options))

    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", serve)
    return app
