"""Lists: selection, pages, and the revision that they show."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from forensics_loopback.kinds.objects import Obj, name_of, namespace_of
from forensics_loopback.kinds.resources import ServedResource
from forensics_loopback.kinds.status import ApiError, bad_request, too_large_revision
from forensics_loopback.server.selectors import parse_selectors
from forensics_loopback.storage.store import Store


@dataclass(frozen=True, slots=True)
class ListPage:
    """A part of a list."""

    objects: list[Obj]
    meta: Obj
    """The list's metadata: resourceVersion, and continue where there is more."""


def revision_of(text: str) -> int:
    """A resourceVersion as a number; raises the recorded 500 for nonsense."""
    if text.isdigit():
        return int(text)
    message = (
        f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
        "invalid syntax"
    )
    raise ApiError(500, "", message)


def page(
    store: Store,
    resource: ServedResource,
    namespace: str,
    query: Mapping[str, str],
    frozen: list[Obj] | None = None,
) -> ListPage:
    """The page that a list request asks for; raises 400, 500 or 504.

    Later pages show the present, not the first page's revision. `frozen` replaces what is stored.
    """
    wanted = revision_of(query.get("resourceVersion") or "0")
    if wanted > store.revision:
        raise too_large_revision(wanted, store.revision)
    selected = parse_selectors(query.get("labelSelector", ""), query.get("fieldSelector", ""))
    stored = store.objects(resource.qualified, namespace)
    if frozen is not None:
        stored = [obj for obj in frozen if not namespace or namespace_of(obj) == namespace]
    found = [obj for obj in stored if selected(obj)]
    meta: Obj = {"resourceVersion": str(store.revision)}
    limit = int(query.get("limit") or 0)
    if query.get("continue"):
        after = _decode(query["continue"])
        found = [obj for obj in found if (namespace_of(obj), name_of(obj)) > after]
    if limit and len(found) > limit:
        last = found[limit - 1]
        meta["continue"] = _encode(store.revision, last)
        meta["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    elif resource.custom:
        meta["continue"] = ""
    return ListPage(found, meta)


def _encode(revision: int, last: Obj) -> str:
    start = f"/{namespace_of(last)}/{name_of(last)}"
    token = {"v": "meta.k8s.io/v1", "rv": revision, "start": start}
    return base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")


def _decode(token: str) -> tuple[str, str]:
    try:
        padded = token + "=" * (-len(token) % 4)
        start = json.loads(base64.urlsafe_b64decode(padded))["start"]
        _, namespace, name = start.split("/", 2)
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    return namespace, name
