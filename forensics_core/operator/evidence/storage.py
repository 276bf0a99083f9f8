"""The operator's own way to the evidence: it puts context and seals there, and reads back."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import TYPE_CHECKING, Self

import anyio

from forensics_core.api.order import Encryption, Retention
from forensics_core.bundle.layout import SEAL
from forensics_core.errors import (
    DestinationError,
    DestinationUnreachable,
    UsageError,
)
from forensics_core.operator.evidence.listed import ListedBundle
from forensics_core.operator.settings import DestinationRule, Timings
from forensics_core.storage.budget import ByteBudget
from forensics_core.storage.locate import S3Location, parse_location
from forensics_core.storage.s3.client import S3Access, s3_client
from forensics_core.storage.s3.request import object_parameters
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.storage import is_there

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

MAX_REMEMBERED = 1_000
"""Folders that are known to be no bundles."""


class DestinationClients:
    """Clients for all destinations, one for each service, opened when first needed."""

    def __init__(self, timings: Timings) -> None:
        self._timings = timings
        self._clients: dict[S3Access, S3Client] = {}
        self._stack = AsyncExitStack()
        self._opening = anyio.Lock()
        self._budget = ByteBudget()
        self._no_bundles: OrderedDict[str, float] = OrderedDict()
        """Folders that are no bundles, and when that was seen."""
        self._resting: dict[S3Access, float] = {}
        """Until when services that do not answer are left alone; for ever while one goes to see."""

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._stack.aclose()

    async def writer(
        self,
        location: str,
        rule: DestinationRule,
        *,
        retention: Retention | None = None,
        encryption: Encryption | None = None,
    ) -> S3Storage:
        """Return a destination at `location`, which `rule` covers."""
        access = rule.operator_access(self._timings)
        return S3Storage(
            await self._client(access),
            _place(location),
            access,
            extra=object_parameters(retention, encryption),
            budget=self._budget,
        )

    async def reader(self, location: str, rule: DestinationRule) -> S3Storage:
        """Return a store at `location`, which `rule` covers."""
        access = rule.operator_access(self._timings)
        return S3Storage(await self._client(access), _place(location), access)

    async def bundle(self, location: str, rule: DestinationRule) -> ListedBundle:
        """Return the bundle at `location`, which `rule` covers; it is listed once."""
        access = rule.operator_access(self._timings)
        return ListedBundle(await self._client(access), _place(location), access)

    async def inside_a_bundle(
        self, folder: str, rule: DestinationRule, is_bundle: Callable[[S3Storage], Awaitable[bool]]
    ) -> bool:
        """Return whether `folder`, which `rule` covers, or one above it is a sealed bundle.

        That a seal lies there is not enough, `is_bundle` has to find it good: whoever may add
        objects could otherwise have every capture refused. What is none is remembered, because many
        requests go to the same folder.
        """
        place = _place(folder)
        parts = [part for part in place.prefix.split("/") if part]
        for depth in range(len(parts) + 1):
            above = f"s3://{'/'.join([place.bucket, *parts[:depth]])}"
            known = self._no_bundles.get(above, -math.inf)
            if anyio.current_time() - known < self._timings.store_remembered.total_seconds():
                continue
            store = await self.reader(above, rule)
            if await _may_be_sealed(store) and await is_bundle(store):
                return True
            self._remember(above)
        return False

    def _remember(self, folder: str) -> None:
        self._no_bundles[folder] = anyio.current_time()
        self._no_bundles.move_to_end(folder)
        if len(self._no_bundles) > MAX_REMEMBERED:
            self._no_bundles.popitem(last=False)

    @contextmanager
    def sparing(self, rule: DestinationRule) -> Iterator[None]:
        """Leave a service that does not answer alone for a while, whoever asks within the block.

        One asker then goes first to see. So a dead destination holds one worker, not all of them.
        Raises `DestinationUnreachable` to the others.
        """
        access, now = rule.operator_access(self._timings), anyio.current_time()
        until = self._resting.get(access)
        if until is not None:
            if now < until:
                raise DestinationUnreachable(
                    f"{rule.prefix} did not answer a moment ago", hint="It is asked again soon"
                )
            self._resting[access] = math.inf
        try:
            yield
        except DestinationUnreachable:
            pause = self._timings.store_pause.total_seconds()
            self._resting[access] = anyio.current_time() + pause
            raise
        finally:
            if self._resting.get(access) == math.inf:
                del self._resting[access]

    async def _client(self, access: S3Access) -> S3Client:
        async with self._opening:
            if access not in self._clients:
                self._clients[access] = await self._stack.enter_async_context(s3_client(access))
            return self._clients[access]


async def _may_be_sealed(store: S3Storage) -> bool:
    try:
        return await is_there(store, SEAL)
    except DestinationUnreachable:
        raise
    except DestinationError:
        # Whatever else is wrong, storing the context will tell.
        return False


def _place(location: str) -> S3Location:
    place = parse_location(location)
    if not isinstance(place, S3Location):
        raise UsageError(f"{location} is not in S3", hint="The operator only writes to s3://")
    return place


async def digest_of(store: S3Storage, name: str, version_id: str | None = None) -> tuple[str, int]:
    """Return the SHA-256 and the size in bytes of an object. Raises `ObjectNotFound`."""
    digest, size = hashlib.sha256(), 0
    async with aclosing(store.read(name, version_id)) as blocks:
        async for block in blocks:
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
