"""An API server that plays a script, faults included, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import Any, Literal

import anyio
import yaml
from aiohttp import web

Answer = Callable[["ScriptedApi", web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came in."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(slots=True)
class ScriptedApi:
    """Answers each method and path by its script: in order, the last answer for ever."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    scripts: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    closing: anyio.Event = field(default_factory=anyio.Event)
    answered: anyio.Event = field(default_factory=anyio.Event)
    """Set, and replaced, with each answer."""

    def on(self, method: str, path: str, *answers: Answer) -> None:
        self.scripts[method, path] = list(answers)

    def asked(self, method: str, path: str | None = None) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and path in (None, seen.path)]

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for the requests to come that make `done` true."""
        while not done():
            await self.answered.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        headers = dict(request.headers.items())
        kind = "WATCH" if request.query.get("watch") else request.method
        self.seen.append(Seen(kind, request.path, dict(request.query), headers, body))
        script = self.scripts[kind, request.path]
        answer = script.pop(0) if len(script) > 1 else script[0]
        try:
            return await answer(self, request)
        finally:
            self.answered.set()
            self.answered = anyio.Event()

    def kubeconfig(self, path: Path, user: Mapping[str, Any]) -> Path:
        """Write a kubeconfig that names this server."""
        context = {"cluster": "here", "user": "me", "namespace": "forensics-system"}
        path.write_text(
            yaml.safe_dump(
                {
                    "current-context": "here",
                    "clusters": [{"name": "here", "cluster": {"server": self.url}}],
                    "users": [{"name": "me", "user": dict(user)}],
                    "contexts": [{"name": "here", "context": context}],
                }
            )
        )
        return path


@asynccontextmanager
async def scripted_api(tls: SSLContext | None = None, port: int = 0) -> AsyncIterator[ScriptedApi]:
    api = ScriptedApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        api.url = f"{'https' if tls else 'http'}://{host}:{port}"
        yield api
    finally:
        api.closing.set()
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def answer(data: Any, status: int = 200, **headers: str) -> Answer:
    """JSON; header names with `_` for `-`."""

    async def respond(api: ScriptedApi, request: web.Request) -> web.StreamResponse:
        fit = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(data, status=status, headers=fit)

    return respond


def text(body: str, status: int = 200) -> Answer:
    async def respond(api: ScriptedApi, request: web.Request) -> web.StreamResponse:
        return web.Response(text=body, status=status)

    return respond


def refusal(code: int, reason: str, message: str = "no", **headers: str) -> Answer:
    """A `Status` of the recorded shape."""
    return answer(status_of(code, reason, message), code, **headers)


def status_of(code: int, reason: str, message: str = "no") -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def reset() -> Answer:
    """No answer: the connection breaks."""

    async def respond(api: ScriptedApi, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    return respond


def stream(*chunks: bytes, then: Literal["end", "reset", "hang"] = "end") -> Answer:
    """A stream of these very bytes, and how it goes on."""

    async def respond(api: ScriptedApi, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if then == "hang":
            await api.closing.wait()
        if then == "reset" and request.transport is not None:
            await anyio.sleep(0.05)  # what was written must get out before the connection breaks
            request.transport.abort()
        return response

    return respond


def event(kind: str, item: dict[str, Any]) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


def pod(name: str, version: int, uid: str = "", **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "prod", "uid": uid or f"uid-{name}"}
    more = {"resourceVersion": str(version), "managedFields": [{"manager": "kubelet"}]}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata | more, "status": status}


def listing(version: int, *items: dict[str, Any], more: str = "") -> Answer:
    """A list; built-in kinds come without kind and apiVersion in their items."""
    bare = [{key: item[key] for key in item if key not in ("kind", "apiVersion")} for item in items]
    metadata = {"resourceVersion": str(version), "continue": more}
    return answer({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": bare})
