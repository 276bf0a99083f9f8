"""The URLs that are no resource's: health, version, discovery, OpenAPI."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from forensics_loopback import discovery, openapi
from forensics_loopback.objects import Obj
from forensics_loopback.resources import Registry

_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})


def information(registry: Registry, request: web.Request) -> web.Response:
    """The answer to such a request; 404 in plain text for everything unknown."""
    path = request.path.rstrip("/") or "/"
    if path in _HEALTH:
        verbose = f"[+]ping ok\n{path[1:]} check passed\n"
        return web.Response(text=verbose if "verbose" in request.query else "ok")
    if path in {"/api", "/apis"} and discovery.wants_aggregated(request.headers.get("Accept", "")):
        body = discovery.aggregated(registry, core=path == "/api")
        return _json(body, discovery.AGGREGATED)
    if path == "/openapi/v2" and "protobuf" in request.headers.get("Accept", ""):
        # An empty document: kubectl finds no kind in it, and goes on without.
        return web.Response(body=b"", content_type=openapi.SECOND)
    found = _document(registry, path, request.host)
    if found is None:
        return web.Response(status=404, text="404 page not found\n")
    return _json(found, "application/json")


def _json(body: Obj, content_type: str) -> web.Response:
    # json_response would refuse the parameters of discovery's media type.
    response = web.json_response(body)
    response.headers["Content-Type"] = content_type
    return response


def _document(registry: Registry, path: str, host: str) -> Obj | None:
    fixed: dict[str, Callable[[], Obj | None]] = {
        "/version": lambda: discovery.VERSION,
        "/api": lambda: discovery.api_versions(host),
        "/apis": lambda: discovery.group_list(registry),
        "/api/v1": lambda: discovery.resource_list(registry, "", "v1"),
        "/openapi/v3": lambda: openapi.index(registry),
    }
    if path in fixed:
        return fixed[path]()
    if path.startswith("/openapi/v3/"):
        return openapi.document(registry, path.removeprefix("/openapi/v3/"))
    if not path.startswith("/apis/"):
        return None
    group, _, version = path.removeprefix("/apis/").partition("/")
    if not version:
        return discovery.single_group(registry, group)
    return discovery.resource_list(registry, group, version)
