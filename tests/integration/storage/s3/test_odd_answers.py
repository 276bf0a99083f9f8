"""Answers that are none: each ends soon, in one clear line, and never as damaged evidence."""

from __future__ import annotations

import gzip
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import anyio
import pytest
from aiohttp import web

from forensics_core.errors import (
    AccessDenied,
    DestinationError,
    DestinationUnreachable,
    ObjectNotFound,
)
from forensics_core.storage.s3.answers import MAX_ANSWER
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.storage import open_destination, open_storage
from tests.integration.storage.s3.odd_store import OddStore, error, odd_store

LARGE = random.Random(1).randbytes(1024 * 1024) * 20  # noqa: S311  # more than one part
HTML = "<html><body><h1>Sign in</h1><br></body></html>"


async def write(store: OddStore, data: bytes = b"1", **access: object) -> None:
    async with (
        open_destination("s3://cases/one", access=store.access(**access)) as destination,
        destination.create("a") as writer,
    ):
        await writer.write(data)
        await writer.commit()


async def check(store: OddStore) -> None:
    async with open_destination("s3://cases/one", access=store.access()) as destination:
        await destination.check()


async def listing(store: OddStore) -> None:
    async with open_storage("s3://cases/one", access=store.access()) as opened:
        await opened.list()


async def stat(store: OddStore) -> None:
    async with open_storage("s3://cases/one", access=store.access()) as opened:
        assert isinstance(opened, S3Storage)
        await opened.stat("a")


async def read(store: OddStore, start: int = 0, length: int | None = None) -> bytes:
    async with (
        open_storage("s3://cases/one", access=store.access()) as opened,
        aclosing(opened.read_range("a", start, length)) as blocks,
    ):
        return b"".join([block async for block in blocks])


async def write_parts(store: OddStore) -> None:
    await write(store, LARGE)


REQUESTS: list[Callable[[OddStore], Awaitable[object]]] = [
    *(check, write, write_parts, listing, stat, read)
]


def redirect(**headers: str) -> Callable[[web.Request], web.Response]:
    def answer(request: web.Request) -> web.Response:
        there = {name: value.format(url=request.url) for name, value in headers.items()}
        return web.Response(status=301, headers=there)

    return answer


@pytest.mark.parametrize("ask", REQUESTS)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Location": "{url}"}, {"x-amz-bucket-region": "eu-central-1"}],
    ids=["without a region", "to itself", "to a region, for ever"],
)
async def test_redirects_end_soon_and_name_the_region(
    ask: Callable[[OddStore], Awaitable[object]], headers: dict[str, str]
) -> None:
    async with odd_store(OddStore([redirect(**headers)])) as store:
        with pytest.raises(DestinationError, match="answered 301") as caught:
            await ask(store)
    assert "AWS_REGION" in (caught.value.hint or "")
    assert caught.value.exit_code == 1
    assert len(store.requests) <= 8


async def test_a_temporary_redirect_is_never_followed_with_a_signature_for_another_host() -> None:
    seen: list[str] = []

    async with odd_store(OddStore()) as other:

        def answer(request: web.Request) -> web.Response:
            seen.append(request.path)
            return web.Response(status=307, headers={"Location": other.endpoint + request.path})

        async with odd_store(OddStore([answer])) as store:
            with pytest.raises(DestinationError, match="answered 307"):
                await write(store)
    assert seen and not other.requests


@pytest.mark.parametrize("status", [200, 400, 403, 502])
@pytest.mark.parametrize("ask", [write_parts, listing, stat, read])
async def test_a_web_page_is_no_evidence(
    ask: Callable[[OddStore], Awaitable[object]], status: int
) -> None:
    def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=HTML, content_type="text/html")

    async with odd_store(OddStore([answer])) as store:
        if status == 200 and ask in {stat, read}:
            await ask(store)  # An object may be a page.
            return
        with pytest.raises(DestinationError) as caught:
            await ask(store)
    assert caught.value.exit_code == 1 and caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "   ", "<", "<a/>"])
@pytest.mark.parametrize("ask", [write_parts, listing])
async def test_an_answer_without_content_is_told(
    ask: Callable[[OddStore], Awaitable[object]], text: str
) -> None:
    def answer(request: web.Request) -> web.Response | None:
        if request.method == "GET" or "uploads" in request.query:
            return web.Response(text=text, content_type="application/xml")
        return None

    async with odd_store(OddStore([answer])) as store:
        if ask is listing and text in {"", "<a/>"}:
            await ask(store)
            return
        with pytest.raises(DestinationError, match=r"not an answer of S3|answered 500") as caught:
            await ask(store)
    assert caught.value.exit_code == 1 and caught.value.hint


async def test_a_part_without_an_etag_is_told() -> None:
    def answer(request: web.Request) -> web.Response | None:
        return web.Response() if "partNumber" in request.query else None

    async with odd_store(OddStore([answer])) as store:
        with pytest.raises(DestinationError, match="no ETag of a part"):
            await write(store, LARGE)


async def test_an_object_without_an_etag_is_stored() -> None:
    def answer(request: web.Request) -> web.Response | None:
        return web.Response() if request.method == "PUT" else None

    async with odd_store(OddStore([answer])) as store:
        await write(store)


async def test_an_error_that_was_compressed_on_its_way_is_read() -> None:
    def answer(request: web.Request) -> web.Response:
        body = gzip.compress(error(403, "AccessDenied", "not for you").body)  # type: ignore[arg-type]
        return web.Response(status=403, body=body, headers={"Content-Encoding": "gzip"})

    async with odd_store(OddStore([answer])) as store:
        with pytest.raises(AccessDenied, match="not for you"):
            await write(store)


async def test_what_only_says_that_it_was_compressed_is_told_by_its_status() -> None:
    def answer(request: web.Request) -> web.Response:
        return web.Response(status=403, body=b"no", headers={"Content-Encoding": "gzip"})

    async with odd_store(OddStore([answer])) as store:
        with pytest.raises(AccessDenied):
            await write(store)


async def test_an_object_that_was_compressed_on_its_way_is_not_called_damaged() -> None:
    def answer(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"x"), headers={"Content-Encoding": "gzip"})

    async with odd_store(OddStore([answer])) as store:
        with pytest.raises(DestinationError, match="compressed") as caught:
            await read(store)
    assert caught.value.exit_code == 1


def chunked(data: bytes, *, whole: bool) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        span = slice(None) if whole else request.http_range
        piece = data[span.start : span.stop]
        status = 206 if "Range" in request.headers and not whole else 200
        response = web.StreamResponse(status=status)
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(piece)
        return response

    return answer


@pytest.mark.parametrize("whole", [True, False], ids=["range ignored", "range"])
async def test_an_object_without_a_length_is_read_to_its_end(whole: bool) -> None:
    async with odd_store(OddStore([chunked(LARGE, whole=whole)])) as store:
        assert await read(store) == LARGE
        assert await read(store, 5, 100) == LARGE[5:105]
        assert await read(store, len(LARGE) - 5, 100) == LARGE[-5:]
        if whole:
            assert await read(store, len(LARGE) + 5, 100) == b""


async def test_a_head_without_a_length_is_told() -> None:
    async with odd_store(OddStore([chunked(b"", whole=True)])) as store:
        with pytest.raises(DestinationError, match="no Content-Length"):
            await stat(store)


async def test_a_refused_head_keeps_nobody_from_storing() -> None:
    def answer(request: web.Request) -> web.Response | None:
        return web.Response(status=403) if request.method == "HEAD" else None

    async with odd_store(OddStore([answer])) as store:
        await check(store)
        await write(store, LARGE)
        with pytest.raises(AccessDenied):
            await stat(store)


async def test_an_object_that_always_breaks_off_is_out_of_reach_and_not_damaged() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        assert request.transport is not None
        request.transport.close()
        return response

    async with odd_store(OddStore([answer])) as store:
        with pytest.raises(DestinationUnreachable):
            await read(store)


async def test_an_endless_answer_is_given_up() -> None:
    def answer(request: web.Request) -> web.Response:
        return web.Response(text=" " * (MAX_ANSWER + 1), content_type="application/xml")

    async with odd_store(OddStore([answer])) as store:
        with pytest.raises(DestinationUnreachable, match="cannot be reached"):
            await listing(store)


async def test_a_clock_that_is_wrong_is_named() -> None:
    def answer(request: web.Request) -> web.Response:
        return error(403, "RequestTimeTooSkewed", "The difference is too large")

    async with odd_store(OddStore([answer])) as store:
        with pytest.raises(AccessDenied, match="clock"):
            await write(store)


def completes(request: web.Request) -> bool:
    return request.method == "POST" and "uploadId" in request.query


async def test_white_space_while_parts_are_joined_is_progress() -> None:
    async def answer(request: web.Request) -> web.StreamResponse | None:
        if not completes(request):
            return None
        response = web.StreamResponse(headers={"Content-Type": "application/xml"})
        await response.prepare(request)
        for _ in range(40):  # In all longer than the client is patient, each far shorter.
            await response.write(b" ")
            await anyio.sleep(0.1)
        done = store.write(request, request.match_info["key"], b"")
        await response.write(done.body)  # type: ignore[arg-type]
        return response

    async with odd_store(OddStore([answer])) as store:
        await write(store, LARGE, progress_timeout=3.0, attempts=1, settling=0.0)
    assert store.objects["one/a"] == LARGE
    assert not any(method == "HEAD" for method, _, _ in store.requests)


BUSY = [
    error(409, "OperationAborted", "A conflicting operation is in progress"),
    error(404, "NoSuchUpload", "The upload does not exist"),
    error(500, "InternalError", "The completion is already in progress"),
]


class SlowJoin:
    """A store that never answers the first request to join, and is done after some looks."""

    def __init__(self, looks: int, busy: web.Response) -> None:
        self.looks, self.busy = looks, busy
        self.asked = 0
        self.asked_again = anyio.Event()
        self.store = OddStore([self.answer])

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        if completes(request):
            self.asked += 1
            if self.asked == 1:
                await self.asked_again.wait()
            self.asked_again.set()
            return web.Response(
                status=self.busy.status, body=self.busy.body, content_type="application/xml"
            )
        if request.method == "HEAD":
            self.looks -= 1
            if not self.looks:
                key = request.match_info["key"]
                parts = self.store.parts[key]
                self.store.objects[key] = b"".join(parts[number] for number in sorted(parts))
        return None


@pytest.mark.parametrize("busy", BUSY, ids=["409", "404", "500"])
async def test_an_object_may_appear_long_after_the_request_timed_out(busy: web.Response) -> None:
    slow = SlowJoin(4, busy)
    async with odd_store(slow.store) as store:
        await write(store, LARGE, progress_timeout=1.0)
    assert store.objects["one/a"] == LARGE
    assert slow.looks == 0


async def test_an_object_that_never_appears_is_given_up_with_what_was_said() -> None:
    slow = SlowJoin(0, BUSY[0])
    async with odd_store(slow.store) as store:
        with pytest.raises(DestinationError, match="in progress"):
            await write(store, LARGE, progress_timeout=1.0, settling=0.5)


async def test_a_small_object_is_not_waited_for() -> None:
    def answer(request: web.Request) -> web.Response | None:
        return error(500, "InternalError", "in progress") if request.method == "PUT" else None

    async with odd_store(OddStore([answer])) as store:
        with pytest.raises(DestinationUnreachable, match="in progress"):
            await write(store)
    assert [method for method, _, _ in store.requests].count("HEAD") == 1


async def test_an_absent_object_is_absent() -> None:
    async with odd_store(OddStore()) as store:
        with pytest.raises(ObjectNotFound):
            await stat(store)


async def test_a_look_that_nobody_answers_is_told() -> None:
    async with odd_store(OddStore()) as store:
        pass
    with pytest.raises(DestinationUnreachable):
        await check(store)
