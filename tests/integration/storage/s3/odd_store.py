"""An S3 that has one peculiarity after another, as stores in the field have them. In memory."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from xml.sax.saxutils import escape

from aiohttp import web

from forensics_core.storage.s3.client import S3Access

Answer = web.StreamResponse | None
Refusal = Callable[[web.Request], Answer | Awaitable[Answer]]


def error(status: int, code: str, message: str, **more: str) -> web.Response:
    extra = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in more.items())
    body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{extra}</Error>"
    return web.Response(status=status, text=body, content_type="application/xml")


def refuses(header: str, status: int, code: str, message: str, **more: str) -> Refusal:
    """Refuse every request that has a header which begins so."""

    def refuse(request: web.Request) -> web.Response | None:
        named = any(name.lower().startswith(header) for name in request.headers)
        return error(status, code, message, **more) if named else None

    return refuse


@dataclass
class OddStore:
    refusals: list[Refusal] = field(default_factory=list)
    versions: Callable[[OddStore], web.Response] | None = None
    """What it answers to `?versions`; None: as it should."""
    ranges: bool = True
    conditions: bool = True
    """Whether `If-None-Match` is heard at all."""
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    endpoint: str = ""

    def access(self, **more: object) -> S3Access:
        return S3Access(
            self.endpoint, "us-east-1", "k", "s", **{"progress_timeout": 5.0, "attempts": 2, **more}  # type: ignore[arg-type]
        )  # fmt: skip

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.query_string, headers))
        for refusal in self.refusals:
            refused = refusal(request)
            if isawaitable(refused):
                refused = await refused
            if refused is not None:
                return refused
        key = request.match_info.get("key", "")
        if request.method in {"GET", "HEAD"}:
            return self.read(request, key)
        if request.method == "DELETE":
            return web.Response(status=204)
        return self.write(request, key, body)

    def write(self, request: web.Request, key: str, body: bytes) -> web.Response:
        query = request.query
        tag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        if "uploads" in query:
            self.parts[key] = {}
            return self.xml("InitiateMultipartUploadResult", "<UploadId>u</UploadId>")
        if "partNumber" in query:
            self.parts[key][int(query["partNumber"])] = body
            return web.Response(headers={"ETag": tag})
        if self.conditions and key in self.objects and "If-None-Match" in request.headers:
            return error(412, "PreconditionFailed", "At least one of the pre-conditions failed")
        if "uploadId" in query:
            parts = self.parts[key]
            self.objects[key] = b"".join(parts[number] for number in sorted(parts))
            return self.xml("CompleteMultipartUploadResult", f"<ETag>{tag}</ETag>")
        self.objects[key] = body
        return web.Response(headers={"ETag": tag})

    def read(self, request: web.Request, key: str) -> web.Response:
        if not key:
            return self.listed(request)
        if key not in self.objects:
            return error(404, "NoSuchKey", "not there")
        data = self.objects[key]
        span = request.http_range if self.ranges else slice(None)
        piece = data[span.start : span.stop]
        status = 206 if self.ranges and "Range" in request.headers else 200
        if request.method == "HEAD":
            return web.Response(headers={"Content-Length": str(len(data))})
        return web.Response(status=status, body=piece)

    def listed(self, request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response()
        if "versions" in request.query and self.versions is not None:
            return self.versions(self)
        kind = "Version" if "versions" in request.query else "Contents"
        rows = "".join(
            f"<{kind}><Key>{escape(key)}</Key><Size>{len(data)}</Size></{kind}>"
            for key, data in self.objects.items()
            if key.startswith(request.query.get("prefix", ""))
        )
        return self.xml("ListVersionsResult" if kind == "Version" else "ListBucketResult", rows)

    @staticmethod
    def xml(name: str, content: str) -> web.Response:
        text = f'<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{name}>'
        return web.Response(text=text, content_type="application/xml")


@asynccontextmanager
async def odd_store(store: OddStore) -> AsyncIterator[OddStore]:
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{bucket}/{key:.*}", store.handle)
    app.router.add_route("*", "/{bucket}", store.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    store.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield store
    finally:
        await runner.cleanup()
