"""One request as the handlers see it: who asks what of which resource, and the decoded body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from aiohttp import web

from forensics_loopback.kinds.objects import is_set
from forensics_loopback.kinds.resources import RequestTarget, ServedResource
from forensics_loopback.kinds.status import bad_request
from forensics_loopback.server import protobuf
from forensics_loopback.server.access import User
from forensics_loopback.server.requests import RequestInfo
from forensics_loopback.storage.operations import APPLY
from forensics_loopback.storage.writes import WriteOptions


@dataclass(slots=True)
class ApiCall:
    """A request that is being answered."""

    request: web.Request
    info: RequestInfo
    resource: ServedResource
    user: User

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters."""
        return self.request.query

    @property
    def accept(self) -> str:
        """The forms that the client takes."""
        return self.request.headers.get("Accept", "")

    @property
    def target(self) -> RequestTarget:
        """The object that is meant."""
        info = self.info
        return RequestTarget(self.resource, info.namespace, info.name, info.subresource)

    def options(self) -> WriteOptions:
        """The parameters of a write; the manager's default is the client's name."""
        agent = self.request.headers.get("User-Agent", "").partition("/")[0]
        default = "" if self.content_type == APPLY else agent or "unknown"
        return WriteOptions(
            manager=self.query.get("fieldManager") or default,
            dry_run=self.query.get("dryRun") == "All",
            validation=self.query.get("fieldValidation") or "Warn",
            force=is_set(self.query, "force"),
        )

    @property
    def content_type(self) -> str:
        """The body's media type."""
        return self.request.headers.get("Content-Type", "").partition(";")[0].strip()

    async def body(self) -> Any:
        """The decoded body; raises 400 or 415."""
        data = await self.request.read()
        if self.content_type == protobuf.MEDIA_TYPE:
            return protobuf.decode(data)
        if not data:
            raise bad_request(
                f"the object provided is unrecognized (must be of type {self.resource.kind}): "
                "couldn't get version/kind; json parse error: unexpected end of JSON input "
                "(<empty>)"
            )
        return _decode(data)


def _decode(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        pass
    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise bad_request(f"the body is neither JSON nor YAML: {error}") from error
