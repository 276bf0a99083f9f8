"""The URLs that are no resource's: health, version, OpenAPI, and discovery in both its forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web

from forensics_loopback.kinds.objects import Obj
from forensics_loopback.kinds.resources import Registry, ServedResource
from forensics_loopback.server import openapi

VERSION: Obj = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2+loopback",
    "gitCommit": "0000000000",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.26.6",
    "compiler": "gc",
    "platform": "linux/amd64",
}
"""What `/version` answers."""
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_STATUS_VERBS = ["get", "patch", "update"]
_SUBRESOURCE_VERBS = {
    "log": ["get"],
    "eviction": ["create"],
    "binding": ["create"],
}

_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})


def information(registry: Registry, request: web.Request) -> web.Response:
    """The answer to such a request; 404 in plain text for everything unknown."""
    path = request.path.rstrip("/") or "/"
    if path in _HEALTH:
        verbose = f"[+]ping ok\n{path[1:]} check passed\n"
        return web.Response(text=verbose if "verbose" in request.query else "ok")
    if path in {"/api", "/apis"} and wants_aggregated(request.headers.get("Accept", "")):
        body = aggregated(registry, core=path == "/api")
        return _json(body, AGGREGATED)
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
        "/version": lambda: VERSION,
        "/api": lambda: api_versions(host),
        "/apis": lambda: group_list(registry),
        "/api/v1": lambda: resource_list(registry, "", "v1"),
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
        return single_group(registry, group)
    return resource_list(registry, group, version)


def wants_aggregated(accept: str) -> bool:
    """Whether the client prefers the aggregated form, which kubectl does."""
    return "as=APIGroupDiscoveryList" in accept and "v=v2;" in accept.replace(" ", "") + ";"


def api_versions(address: str) -> Obj:
    """`/api`, the plain form."""
    where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}


def groups(registry: Registry) -> dict[str, list[str]]:
    """The named groups and their versions."""
    found: dict[str, list[str]] = {}
    for resource in registry:
        if resource.group:
            versions = found.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
    return found


def group(name: str, versions: Iterable[str]) -> Obj:
    """One APIGroup, as it stands in the list."""
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group_list(registry: Registry) -> Obj:
    """`/apis`, the plain form."""
    listed = [group(name, versions) for name, versions in groups(registry).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def single_group(registry: Registry, name: str) -> Obj | None:
    """`/apis/<group>`, or None where there is no such group."""
    versions = groups(registry).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **group(name, versions)} if versions else None


def _of(registry: Registry, name: str, version: str) -> list[ServedResource]:
    return [r for r in registry if (r.group, r.version) == (name, version)]


def resource_list(registry: Registry, name: str, version: str) -> Obj | None:
    """`/apis/<group>/<version>` or `/api/v1`, or None where nothing is served there."""
    resources = _of(registry, name, version)
    if not resources:
        return None
    listed = [entry for resource in resources for entry in _plain(resource)]
    found: Obj = {"kind": "APIResourceList", "apiVersion": "v1"}
    return {**found, "groupVersion": resources[0].api_version, "resources": listed}


def _plain(resource: ServedResource) -> list[Obj]:
    common = {"namespaced": resource.namespaced, "kind": resource.kind}
    entry: Obj = {
        "name": resource.plural,
        "singularName": resource.singular_name,
        **common,
        "verbs": list(resource.verbs),
        **_nicknames(resource),
        "storageVersionHash": "",
    }
    entries = [entry]
    for name, verbs in _subresources(resource).items():
        sub = {"name": f"{resource.plural}/{name}", "singularName": "", **common, "verbs": verbs}
        entries.append(sub)
    return entries


def _nicknames(resource: ServedResource) -> Obj:
    found = {"shortNames": list(resource.short_names), "categories": list(resource.categories)}
    return {key: value for key, value in found.items() if value}


def _subresources(resource: ServedResource) -> dict[str, list[str]]:
    found = {name: _SUBRESOURCE_VERBS[name] for name in resource.subresources}
    return {**found, "status": _STATUS_VERBS} if resource.status else found


def aggregated(registry: Registry, *, core: bool) -> Obj:
    """`/api` or `/apis` in the form that kubectl asks for first."""
    wanted = {"": ["v1"]} if core else groups(registry)
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [_aggregated_group(registry, name, vs) for name, vs in wanted.items()],
    }


def _aggregated_group(registry: Registry, name: str, versions: Iterable[str]) -> Obj:
    listed = [
        {
            "version": version,
            "resources": [_aggregated_resource(r) for r in _of(registry, name, version)],
            "freshness": "Current",
        }
        for version in versions
    ]
    return {"metadata": {"name": name} if name else {}, "versions": listed}


def _aggregated_resource(resource: ServedResource) -> Obj:
    kind: Obj = {"group": "", "version": "", "kind": resource.kind}
    if resource.custom:
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    found: Obj = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular_name,
        "verbs": list(resource.verbs),
        **_nicknames(resource),
    }
    subresources = [
        {"subresource": name, "responseKind": kind, "verbs": verbs}
        for name, verbs in _subresources(resource).items()
    ]
    return {**found, "subresources": subresources} if subresources else found
