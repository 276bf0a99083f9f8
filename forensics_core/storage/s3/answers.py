"""Answers as they come over the wire: redirects are not followed, and every byte is progress.

Three things that botocore and aiohttp do by themselves end badly at stores that are not quite S3:

- aiohttp follows `Location`, with a signature that is made for another host;
- botocore asks for a bucket's region by HeadBucket, for that HeadBucket again, and so on;
- a store that joins thousands of parts keeps the connection alive with white space for minutes, and
  only the whole answer is waited for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

import anyio
from aiobotocore.httpsession import AIOHTTPSession
from aiohttp import ClientPayloadError

from forensics_core.storage.budget import MIB
from forensics_core.storage.objects import ClockSample, Traffic

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


MAX_ANSWER = 32 * MIB
"""Bytes of an answer that is no object: a page of a listing has one MiB or two."""

progress: ContextVar[Callable[[], None]] = ContextVar("progress", default=lambda: None)
"""Called for whatever arrives; `attempts` sets it to what puts its deadline off."""


class AnswerSession(AIOHTTPSession):
    """What `AioConfig.http_session_cls` takes."""

    async def send(self, request: Any) -> Any:
        """Send a request; the answer to one that is not for an object is read to its end."""
        token = _streams.set(request.stream_output)
        try:
            return await super().send(request)
        finally:
            _streams.reset(token)

    async def _get_session(self, proxy_url: str | None) -> Any:
        return _Direct(await cast(Any, super())._get_session(proxy_url))


_streams: ContextVar[bool] = ContextVar("streams", default=False)


class _Direct:
    """As much of a `ClientSession` as aiobotocore uses."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def request(self, method: str, **arguments: Any) -> Any:
        # A request is signed for its host. Sent on to another, it would be refused there for its
        # signature, and people would look for wrong keys.
        response = await self._session.request(method, allow_redirects=False, **arguments)
        progress.get()()
        # An error in place of an object is a document like any other answer.
        if _streams.get() and response.status < 300:
            return response
        return _Read(response, await _all_of(response))


async def _all_of(response: Any) -> bytes:
    blocks: list[bytes] = []
    size = 0
    try:
        async for block in response.content.iter_any():
            progress.get()()
            blocks.append(block)
            size += len(block)
            if size > MAX_ANSWER:
                raise ClientPayloadError(f"an answer has more than {MAX_ANSWER // MIB} MiB")
    # Closed, not given back: a connection with half an answer in it would spoil the next request.
    except BaseException:
        response.close()
        raise
    return _unpacked(b"".join(blocks), response.headers.get("Content-Encoding", ""))


def _unpacked(body: bytes, encoding: str) -> bytes:
    """Undo what a proxy does that compresses answers though nobody asked for it."""
    if encoding.lower() != "gzip":
        return body
    try:
        # Bounded: 32 MiB of gzip can unpack to 32 GiB.
        return zlib.decompressobj(wbits=31).decompress(body, MAX_ANSWER)
    except zlib.error:
        return body  # It is parsed as what it is, and told to be no answer.


class _Read:
    """As much of a `ClientResponse` as aiobotocore uses of one that is no stream."""

    def __init__(self, response: Any, body: bytes) -> None:
        self.url = response.url
        self.status: int = response.status
        self.raw_headers: Sequence[tuple[bytes, bytes]] = response.raw_headers
        self._body = body

    async def read(self) -> bytes:
        return self._body


def bound_redirects(client: S3Client) -> None:
    """Keep `client` from asking for a bucket's region by the very request that did not tell it."""
    events: Any = client.meta.events
    # First, as botocore's own handler for redirects is registered for the same event.
    events.register_first("needs-retry.s3.HeadBucket", _keep_error_region_out)


def _keep_error_region_out(response: Any, request_dict: dict[str, Any], **_: object) -> None:
    if response is None:
        return
    http, parsed = response
    told = "x-amz-bucket-region" in http.headers or parsed.get("Error", {}).get("Region")
    if not told:
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


def count_answers(client: S3Client, traffic: Traffic) -> None:
    """Count every answer, and the bytes of those that are no object: who reads that counts them."""

    def count(parsed: dict[str, Any], model: Any, **_: object) -> None:
        traffic.requests += 1
        if model.name != "GetObject":
            said = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            length = said.get("content-length", "")
            traffic.size += int(length) if length.isdecimal() else 0

    client.meta.events.register("after-call.s3", count)


class ServiceClock:
    """Hears every answer that `client` gets, refusals included."""

    def __init__(self, client: S3Client) -> None:
        self._first: ClockSample | None = None
        self._last: ClockSample | None = None
        client.meta.events.register("after-call.s3", self._heard)

    @property
    def clock_samples(self) -> Sequence[ClockSample]:
        """The first and the last answer that had a date."""
        return [self._first, self._last] if self._first and self._last else []

    def _heard(self, parsed: dict[str, Any], **_: object) -> None:
        """Note an answer; a date that is none is passed over."""
        said = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        try:
            date = parsedate_to_datetime(said).astimezone(UTC)
        except (ValueError, OverflowError):
            return
        self._last = ClockSample(date, datetime.now(UTC), anyio.current_time())
        self._first = self._first or self._last
