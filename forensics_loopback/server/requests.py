"""Requests: what one is about, as the API server reads it from the URL, and a record of all."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from forensics_loopback.kinds.objects import is_set

_CORE = re.compile(r"^/api/(?P<version>v1)/(?P<rest>.+)$")
_GROUP = re.compile(r"^/apis/(?P<group>[^/]+)/(?P<version>[^/]+)/(?P<rest>.+)$")
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_WITH_NAME = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_WITHOUT_NAME = {"GET": "list", "DELETE": "deletecollection"}
READS = frozenset({"get", "list"})
WATCHES = frozenset({"watch"})


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


@dataclass(frozen=True, slots=True)
class Recorded:
    """One answered request."""

    info: RequestInfo
    status: int
    """0 where the connection was cut."""
    user: str
    user_agent: str


class Records:
    """The requests since the start, or since `clear`; the last 10,000 one by one."""

    def __init__(self) -> None:
        self.requests: deque[Recorded] = deque(maxlen=10_000)
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, recorded: Recorded) -> None:
        """Note a request. Watches are noted when they begin."""
        self.requests.append(recorded)
        self._counts[recorded.info.verb, recorded.info.resource] += 1

    def clear(self) -> None:
        """Begin anew."""
        self.requests.clear()
        self._counts.clear()

    def counts(self) -> dict[str, int]:
        """How many of each: `{"create jobs": 3, "get pods/log": 1}`."""
        return {f"{verb} {resource}": n for (verb, resource), n in sorted(self._counts.items())}

    @property
    def reads(self) -> int:
        """Gets and lists."""
        return sum(n for (verb, _), n in self._counts.items() if verb in READS)

    @property
    def watches(self) -> int:
        """Watches begun."""
        return sum(n for (verb, _), n in self._counts.items() if verb in WATCHES)

    @property
    def writes(self) -> int:
        """Everything else: creates, updates, patches and deletions."""
        return self._counts.total() - self.reads - self.watches
