"""Objects on their way out: in the version and the form that the client asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from forensics_loopback.kinds.events import to_modern
from forensics_loopback.kinds.objects import Obj
from forensics_loopback.kinds.resources import ServedResource
from forensics_loopback.printing.tables import partial_metadata, table

_TABLE, _PARTIAL = "as=Table", "as=PartialObjectMetadata"


def converted(resource: ServedResource, obj: Obj) -> Obj:
    """A stored object as this group and version shows it."""
    if resource.group == "events.k8s.io":
        obj = to_modern(obj)
    return {"apiVersion": resource.api_version, "kind": resource.kind, **obj}


def one(resource: ServedResource, obj: Obj, accept: str, include: str = "") -> Obj:
    """A single object: whole, as a table of one row, or its metadata."""
    shown = converted(resource, obj)
    version = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    if _TABLE in accept:
        return table(resource, [shown], version, include=include)
    return partial_metadata(shown) if _PARTIAL in accept else shown


def several(
    resource: ServedResource, objects: Iterable[Obj], meta: Obj, accept: str, include: str = ""
) -> Obj:
    """A list in the form that was asked for."""
    shown = [converted(resource, obj) for obj in objects]
    meta_only = {key: value for key, value in meta.items() if value != ""}
    if _TABLE in accept:
        return table(resource, shown, meta_only, include=include)
    if _PARTIAL in accept:
        kind = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return {**kind, "metadata": meta_only, "items": [partial_metadata(obj) for obj in shown]}
    if not resource.custom:
        # Lists of built-in kinds leave out what every item would repeat.
        shown = [{k: v for k, v in o.items() if k not in {"apiVersion", "kind"}} for o in shown]
    frame = {"apiVersion": resource.api_version, "kind": resource.kind + "List"}
    return {**frame, "metadata": meta, "items": shown}


def stream(resource: ServedResource, accept: str, include: str = "") -> Callable[[Obj], Obj]:
    """How a watch shows its objects; only the first table names its columns."""
    first = True

    def render(obj: Obj) -> Obj:
        nonlocal first
        shown = one(resource, obj, accept, include)
        if _TABLE in accept and not first:
            shown["columnDefinitions"] = None
        first = False
        return shown

    return render
