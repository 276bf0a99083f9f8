"""What a request is about: its verb and resource, as the API server reads them from the URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_CORE = re.compile(r"^/api/(?P<version>v1)/(?P<rest>.+)$")
_GROUP = re.compile(r"^/apis/(?P<group>[^/]+)/(?P<version>[^/]+)/(?P<rest>.+)$")
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_WITH_NAME = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_WITHOUT_NAME = {"GET": "list", "DELETE": "deletecollection"}


_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})


def is_set(query: Mapping[str, str], name: str) -> bool:
    """Whether a boolean parameter is true, in any of the spellings that Go reads."""
    return query.get(name) in _TRUE


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request for a resource."""

    verb: str
    """`get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`."""
    group: str
    version: str
    namespace: str
    plural: str
    name: str = ""
    subresource: str = ""

    @property
    def resource(self) -> str:
        """Plural and subresource: `pods/log`."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


def parse(method: str, path: str, query: Mapping[str, str]) -> RequestInfo | None:
    """The request, or None where the URL is not a resource's."""
    match = _CORE.match(path) or _GROUP.match(path)
    if match is None:
        return None
    parts = [part for part in match["rest"].split("/") if part]
    namespace = ""
    if len(parts) > 2 and parts[0] == "namespaces" and parts[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = [*parts, "", "", ""][:3]
    group = match.groupdict().get("group") or ""
    verb = _verb(method, name, query)
    return RequestInfo(verb, group, match["version"], namespace, plural, name, subresource)


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method == "POST":
        return "create"
    if method == "GET" and is_set(query, "watch"):
        return "watch"
    return (_WITH_NAME if name else _WITHOUT_NAME).get(method, method.lower())
