"""One connection to a cluster: requests with JSON in and out, and streams of bytes.

Every request has a timeout, every error is one of ours, an expired token or a rotated certificate
is read again and the request repeated, and a server that asks for a pause gets it::

    async with connect() as cluster:
        version = await cluster.request("GET", "/version")
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import anyio.to_thread

from forensics_core._internal.backoff import Backoff
from forensics_core.errors import AnswerTooLarge, ApiUnavailable, StreamIdle
from forensics_core.kube.answers import failure
from forensics_core.kube.credentials import CredentialSource
from forensics_core.kube.sessions import RECHECK, Session, Sessions

CONNECT = 10.0
"""Seconds for a connection to be made."""
ANSWER = 30.0
"""Seconds of silence after which an answer is given up."""
WHOLE = 60.0
"""Seconds for a request as a whole."""
ORDINARY = aiohttp.ClientTimeout(total=WHOLE, sock_connect=CONNECT, sock_read=ANSWER)
PAUSE = 0.8
"""Seconds before the second attempt, on top of what the server asks for."""
ATTEMPTS = 4
"""How often a request is made that the server asks to make again later."""

NOISE = 5.0
"""Seconds by which clocks seem to be apart though they are not: the time of an answer has whole
ones, and the answer was under way."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request, as it can be made again."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"
    accept: str = "application/json"
    timeout: aiohttp.ClientTimeout = ORDINARY
    most: int | None = None
    """Bytes that the answer may have."""

    @property
    def what(self) -> str:
        """How messages call it: `GET /api/v1/pods`."""
        return f"{self.method} {self.path}"

    async def send(self, session: Session) -> aiohttp.ClientResponse:
        """Make the request, and return the answer with its body still to be read."""
        response: aiohttp.ClientResponse = await session.client.call_api(
            self.path,
            self.method,
            query_params=list(self.query.items()),
            header_params={"Accept": self.accept, "Content-Type": self.content_type},
            body=self.body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=self.timeout,
        )
        return response


class ClusterConnection:
    """A cluster's API, as one identity. Made by `connect`."""

    def __init__(self, sessions: Sessions, namespace: str, *, pause: float = PAUSE) -> None:
        self._sessions = sessions
        self._pause = pause
        self._ahead = 0.0
        self.namespace = namespace
        """The namespace to use where none is named."""

    def now(self) -> float:
        """Return the time in seconds since 1970 as the API server has it, by its latest answer.

        Times in objects are the server's: a clock here that is wrong must end no wait too soon.
        """
        return time.time() + self._ahead

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        most: int | None = None,
    ) -> Any:
        """Make a request and return the JSON of the answer.

        `most`: bytes that the answer may have; no more are read, and `AnswerTooLarge` is raised.
        Raises the `ClusterError` that the answer stands for, `ApiUnavailable` if there is none.
        """
        request = ApiRequest(method, path, query or {}, body, content_type, accept, most=most)
        backoff = Backoff(self._pause)
        while True:
            try:
                return await self._exchange(request)
            except ApiUnavailable as error:
                pause = backoff.next(error.retry_after)
                if error.retry_after is None or backoff.failures >= ATTEMPTS:
                    raise
            await anyio.sleep(pause)

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], idle: float, accept: str = "application/json"
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a stream; yields its chunks, each at most `idle` seconds after the one before.

        Raises like `request`; while reading, `StreamIdle` after silence and `ApiUnavailable` when
        the connection breaks. A clean end just ends the chunks.
        """
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT, sock_read=idle)
        request = ApiRequest("GET", path, query, accept=accept, timeout=timeout)
        async with self._answer(request) as response:
            if response.status >= 400:
                raise await _refusal(request, response)
            yield _chunks(request, response)

    async def _exchange(self, request: ApiRequest) -> Any:
        async with self._answer(request) as response:
            if response.status >= 400:
                raise await _refusal(request, response)
            body = await _body(request, response)
        try:
            return json.loads(body)
        except ValueError as error:
            raise ApiUnavailable(
                f"{request.what}: the answer of {len(body)} bytes is not JSON",
                hint="See whether a proxy stands between here and the API server",
            ) from error

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[ClusterConnection]:
        """Open connections of one's own, as the same identity: no other requests delay them."""
        sessions = Sessions(self._sessions.source)
        try:
            yield ClusterConnection(sessions, self.namespace)
        finally:
            await sessions.aclose()

    @asynccontextmanager
    async def _answer(self, request: ApiRequest) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the answer; once, with fresh credentials, if the first ones were refused."""
        async with AsyncExitStack() as stack:
            with _network_errors(request):
                response = await self._first_answer(stack, request)
                if response is None:
                    session = await stack.enter_async_context(self._sessions.lend())
                    response = await request.send(session)
            self._hear_clock(response.headers.get("Date", ""))
            # After the whole body this does nothing; a stream left early must not drag on.
            stack.callback(response.close)
            yield response

    def _hear_clock(self, said: str) -> None:
        try:
            apart = parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, OverflowError):
            return
        self._ahead = apart if abs(apart) > NOISE else 0.0

    async def _first_answer(
        self, stack: AsyncExitStack, request: ApiRequest
    ) -> aiohttp.ClientResponse | None:
        session = await stack.enter_async_context(self._sessions.lend())
        try:
            response = await request.send(session)
        except (aiohttp.ClientSSLError, ssl.SSLError, aiohttp.ClientConnectorCertificateError):
            response = None
        if response is None or response.status == 401:
            if response is not None:
                response.close()
            await self._sessions.renew(session)
            return None
        return response


@asynccontextmanager
async def connect(
    kubeconfig: str | Path | None = None,
    *,
    context: str | None = None,
    pause: float = PAUSE,
    recheck: float = RECHECK,
) -> AsyncIterator[ClusterConnection]:
    """Open a connection by the kubeconfig, or from inside a pod.

    `pause` is in seconds, before a request is made a second time; after `recheck` seconds the files
    of the credentials are looked at again. Raises `ClusterNotConfigured`. No request is made yet.
    """
    find = partial(CredentialSource.find, kubeconfig, context)
    sessions = Sessions(await anyio.to_thread.run_sync(find), recheck)
    session = await sessions.current()
    try:
        yield ClusterConnection(sessions, session.credentials.namespace, pause=pause)
    finally:
        await sessions.aclose()


async def _body(request: ApiRequest, response: aiohttp.ClientResponse) -> bytes:
    """Read the answer, up to what the request allows of it."""
    with _network_errors(request):
        if request.most is None:
            return await response.read()
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > request.most:
                raise AnswerTooLarge(
                    f"{request.what}: the answer has more than {request.most} bytes",
                    hint="Ask for fewer objects at a time",
                )
    return bytes(body)


async def _refusal(request: ApiRequest, response: aiohttp.ClientResponse) -> Exception:
    with _network_errors(request):
        body = await response.read()
    return failure(request.what, response.status, response.headers, body)


async def _chunks(request: ApiRequest, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with _network_errors(request):
        async for chunk in response.content.iter_any():
            yield chunk


@contextmanager
def _network_errors(request: ApiRequest) -> Iterator[None]:
    hint = "See whether the API server is up and reachable from here"
    try:
        yield
    except aiohttp.SocketTimeoutError as error:
        raise StreamIdle(f"{request.what}: nothing heard for too long", hint=hint) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        cause = str(error) or type(error).__name__
        raise ApiUnavailable(f"{request.what}: {cause}".rstrip("."), hint=hint) from error
