"""Objects of one kind as plain JSON data: create, get, list, replace, patch, apply, delete.

jobs = Objects(cluster, JOBS)
await jobs.delete("capture-1", "forensics-system", missing_ok=True)
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from forensics_core.errors import AnswerTooLarge, NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.resources import Resource

Object: TypeAlias = dict[str, Any]
"""An object as JSON data."""
Propagation = Literal["Background", "Foreground", "Orphan"]

PAGE = 100
"""Objects that are asked for at a time; a hundred pods are some MiB while they are read."""
METADATA_PAGE = 500
"""The same, where only their metadata is asked for."""
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""What to accept then; a server that knows no such list sends whole objects."""
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class ObjectList:
    """What was there at one moment."""

    items: list[Object]
    resource_version: str
    """From where a watch goes on."""


class Objects:
    """The objects of one kind. Errors are those of `ClusterConnection.request`."""

    def __init__(
        self, cluster: ClusterConnection, resource: Resource, *, metadata_page: int = METADATA_PAGE
    ) -> None:
        self._cluster = cluster
        self._metadata_page = metadata_page
        self._resource = resource

    async def create(self, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object, and return it as it was stored. Raises `AlreadyExists`, `Invalid`.

        Fields that the server does not know are an error, not a surprise.
        """
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        path = self._resource.path(body["metadata"].get("namespace"))
        return await self._send("POST", path, query=query, body=self._typed(body))

    async def get(
        self, name: str, namespace: str | None = None, *, most: int | None = None
    ) -> Object:
        """Return an object. Raises `NotFound`, `AnswerTooLarge` for one of over `most` bytes."""
        return await self._send("GET", self._resource.path(namespace, name), most=most)

    async def list(
        self, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """Return all objects that match, in a namespace or everywhere. Raises as `pages` does."""
        items: builtins.list[Object] = []
        version = ""
        found = self.pages(namespace, label_selector=label_selector, field_selector=field_selector)
        async with aclosing(found) as pages:
            async for page in pages:
                items += page.items
                version = page.resource_version
        return ObjectList(items, version)

    async def pages(
        self,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        most: int | None = None,
        at_once: int = PAGE,
    ) -> AsyncGenerator[ObjectList, None]:
        """Yield all objects that match, `at_once` of them; all pages are of the same moment.

        With `most`, no page of more bytes is read: fewer objects are asked for at a time instead.
        With `metadata_only` nothing else of them is asked for, and nothing else can be relied on.
        Raises `Expired` if it took so long that the next page is gone.
        """
        limit = self._metadata_page if metadata_only else at_once
        query = selectors(label_selector, field_selector) | {"limit": str(limit)}
        form: dict[str, Any] = {"accept": METADATA} if metadata_only else {}
        while True:
            try:
                page = await self._send(
                    "GET", self._resource.path(namespace), query=query, most=most, **form
                )
            except AnswerTooLarge:
                limit //= 4
                if not limit:
                    raise
                query |= {"limit": str(limit)}
                continue
            # The server leaves the kind out of the built-in kinds' lists.
            items = [self._typed(item) for item in page.get("items") or ()]
            token = page["metadata"].get("continue")
            yield ObjectList(items, page["metadata"]["resourceVersion"])
            if not token:
                return
            query |= {"continue": token}

    async def replace(self, body: Object) -> Object:
        """Replace an object. Raises `Conflict` if it changed since `body` was read."""
        metadata = body["metadata"]
        path = self._resource.path(metadata.get("namespace"), metadata["name"])
        return await self._send("PUT", path, body=self._typed(body))

    async def patch(
        self,
        name: str,
        namespace: str | None,
        patch: Any,
        *,
        content_type: str = MERGE_PATCH,
        subresource: str | None = None,
    ) -> Object:
        """Change parts of an object: by JSON merge patch unless `content_type` says otherwise."""
        path = self._resource.path(namespace, name, subresource)
        return await self._send("PATCH", path, body=patch, content_type=content_type)

    async def apply(self, body: Object, *, manager: str, subresource: str | None = None) -> Object:
        """Apply `body` on the server's side: what `manager` applied before and leaves out, goes.

        Conflicts with other managers are won. With `metadata.resourceVersion` in the body, a
        change in between raises `Conflict`.
        """
        metadata = body["metadata"]
        path = self._resource.path(metadata.get("namespace"), metadata["name"], subresource)
        query = {"fieldManager": manager, "force": "true"}
        return await self._send(
            "PATCH", path, query=query, body=self._typed(body), content_type=APPLY_PATCH
        )

    async def delete(
        self,
        name: str,
        namespace: str | None = None,
        *,
        propagation: Propagation = "Background",
        uid: str | None = None,
        missing_ok: bool = False,
    ) -> None:
        """Delete an object and its dependents. With `uid`, only that very one, else `Conflict`."""
        options: Object = {"propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        body = {"apiVersion": "v1", "kind": "DeleteOptions"} | options
        try:
            await self._send("DELETE", self._resource.path(namespace, name), body=body)
        except NotFound:
            if not missing_ok:
                raise

    async def _send(self, method: str, path: str, **more: Any) -> Object:
        answer: Object = await self._cluster.request(method, path, **more)
        return answer

    def _typed(self, body: Object) -> Object:
        return {"apiVersion": self._resource.api_version, "kind": self._resource.kind} | body


def selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    """Return the query that narrows a list or a watch."""
    given = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: value for name, value in given.items() if value}


def moment(text: object) -> float | None:
    """Return a time of the API as seconds since 1970; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def deletion_asked_at(metadata: Object) -> float | None:
    """Return when the deletion was asked for: the timestamp is when its grace period is over."""
    end = moment(metadata.get("deletionTimestamp"))
    if end is None:
        return None
    grace = metadata.get("deletionGracePeriodSeconds")
    return end - grace if isinstance(grace, int) else end
