"""OpenAPI v3: what `kubectl explain` shows, and by which kubectl learns that the server validates.

Custom resources have their whole schema, built-in ones only their frame.
"""

from __future__ import annotations

import hashlib
import json

from forensics_loopback.kinds.objects import Obj
from forensics_loopback.kinds.resources import Registry, ServedResource

SECOND = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""The media type of OpenAPI v2, which kubectl asks for about kinds that it cannot merge."""
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_VERSION_HELP = "APIVersion defines the versioned schema of this representation of an object."
_KIND_HELP = "Kind is a string value representing the REST resource this object represents."


def _base(resource: ServedResource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"


def index(registry: Registry) -> Obj:
    """`/openapi/v3`: the documents there are, each with the hash of its content."""
    paths: Obj = {}
    for base in dict.fromkeys(_base(resource) for resource in registry):
        text = json.dumps(document(registry, base), sort_keys=True).encode()
        digest = hashlib.sha512(text).hexdigest().upper()
        paths[base] = {"serverRelativeURL": f"/openapi/v3/{base}?hash={digest}"}
    return {"paths": paths}


def document(registry: Registry, base: str) -> Obj | None:
    """`/openapi/v3/apis/<group>/<version>`, or None where nothing is served there."""
    resources = [resource for resource in registry if _base(resource) == base]
    if not resources:
        return None
    schemas: Obj = {
        _META + "ObjectMeta": {"type": "object", "description": "Standard object's metadata."},
        _META + "ListMeta": {"type": "object", "description": "Standard list metadata."},
    }
    paths: Obj = {}
    for resource in resources:
        schemas[_name(resource)] = _schema(resource)
        schemas[_name(resource) + "List"] = _list_schema(resource)
        paths |= _paths(resource, f"/{base}")
    info = {"title": "Kubernetes", "version": "loopback"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _name(resource: ServedResource) -> str:
    if resource.custom:
        reverse = ".".join(reversed(resource.group.split(".")))
        return f"{reverse}.{resource.version}.{resource.kind}"
    group = resource.group.split(".")[0] or "core"
    return f"io.k8s.api.{group}.{resource.version}.{resource.kind}"


def _reference(name: str) -> Obj:
    return {"allOf": [{"$ref": f"#/components/schemas/{name}"}]}


def _kind(resource: ServedResource, suffix: str = "") -> Obj:
    return {"group": resource.group, "kind": resource.kind + suffix, "version": resource.version}


def _frame(meta: str) -> Obj:
    return {
        "apiVersion": {"description": _VERSION_HELP, "type": "string"},
        "kind": {"description": _KIND_HELP, "type": "string"},
        "metadata": {"description": "Standard metadata.", **_reference(_META + meta)},
    }


def _schema(resource: ServedResource) -> Obj:
    schema = resource.schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties = {**(schema.get("properties") or {}), **_frame("ObjectMeta")}
    gvk = {"x-kubernetes-group-version-kind": [_kind(resource)]}
    return {**schema, "properties": properties, **gvk}


def _list_schema(resource: ServedResource) -> Obj:
    reference = {"$ref": f"#/components/schemas/{_name(resource)}"}
    items = {"description": f"List of {resource.plural}.", "type": "array", "items": reference}
    return {
        "description": f"{resource.kind}List is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {**_frame("ListMeta"), "items": items},
        "x-kubernetes-group-version-kind": [_kind(resource, "List")],
    }


def _paths(resource: ServedResource, base: str) -> Obj:
    place = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{base}{place}/{resource.plural}"
    return {
        collection: {"get": _operation(resource, "list"), "post": _operation(resource, "post")},
        f"{collection}/{{name}}": {
            "get": _operation(resource, "get"),
            "patch": _operation(resource, "patch"),
            "put": _operation(resource, "put"),
            "delete": _operation(resource, "delete"),
        },
    }


def _operation(resource: ServedResource, action: str) -> Obj:
    names = ("dryRun", "fieldManager", "fieldValidation")
    parameters = [{"name": n, "in": "query", "schema": {"type": "string"}} for n in names]
    operation: Obj = {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _kind(resource),
        "responses": {"200": {"description": "OK"}},
    }
    if action in {"post", "put", "patch"}:
        operation["parameters"] = parameters
    if action == "patch":
        types = ["application/apply-patch+yaml", "application/merge-patch+json"]
        operation["requestBody"] = {"content": {media: {"schema": {}} for media in types}}
    return operation
