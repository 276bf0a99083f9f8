"""HTTP sessions, lent out and replaced when the credentials rotate.

A client's TLS context is built once, so a rotated certificate or CA takes a new client. Requests in
flight keep the old one until they end; whoever gives it back last closes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.request import getproxies

import anyio
import anyio.to_thread
from aiohttp import ClientSession
from kubernetes_asyncio.client import ApiClient

from forensics_core.kube.credentials import ClusterCredentials, CredentialSource
from forensics_core.version import __version__

RECHECK = 60.0


@dataclass(eq=False, slots=True)
class Session:
    """One client, with the number of those who use it."""

    client: ApiClient
    credentials: ClusterCredentials
    fingerprint: object
    checked: float
    users: int = 0
    retired: bool = False

    async def close_if_unused(self) -> None:
        """Close the connections of a retired session when nobody uses them any more."""
        if self.retired and not self.users:
            with anyio.CancelScope(shield=True):
                await self.client.close()


@dataclass(eq=False, slots=True)
class Sessions:
    """The current session and how to make the next."""

    source: CredentialSource
    recheck: float = RECHECK
    """Seconds after which the files of the credentials are looked at again."""
    _current: Session | None = None
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def current(self) -> Session:
        """Return the session of today's credentials. Raises `ClusterNotConfigured`."""
        session = self._current
        # Nearly every time, and once a request: nobody has to wait for a turn then.
        if session is not None and anyio.current_time() - session.checked < self.recheck:
            return session
        async with self._lock:
            session = self._current
            if session is None or await self._rotated(session):
                session = await self._replace()
            return session

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Session]:
        """Lend the current session for as long as the block lasts."""
        session = await self.current()
        session.users += 1
        try:
            yield session
        finally:
            session.users -= 1
            await session.close_if_unused()

    async def renew(self, stale: Session) -> None:
        """Read the credentials again, unless somebody did since `stale` was lent."""
        async with self._lock:
            if self._current is stale:
                await self._replace()

    async def aclose(self) -> None:
        """Close what is open. Nothing can be lent afterwards."""
        if self._current is not None:
            self._current.users = 0
            await self._retire(self._current)

    async def _rotated(self, session: Session) -> bool:
        now = anyio.current_time()
        if now - session.checked < self.recheck:
            return False
        session.checked = now
        fingerprint = await anyio.to_thread.run_sync(session.credentials.fingerprint)
        return fingerprint != session.fingerprint

    async def _replace(self) -> Session:
        new = await self._make()
        old, self._current = self._current, new
        if old is not None:
            await self._retire(old)
        return new

    async def _make(self) -> Session:
        credentials = await self.source.load()
        fingerprint = await anyio.to_thread.run_sync(credentials.fingerprint)
        # The client's own limit is 100: a hundred open watches and logs would starve all else.
        credentials.configuration.connection_pool_maxsize = 0
        client = ApiClient(credentials.configuration)
        client.user_agent = f"kube-forensics/{__version__}"
        if not getproxies():
            _ask_no_environment(client)
        return Session(client, credentials, fingerprint, anyio.current_time())

    async def _retire(self, session: Session) -> None:
        session.retired = True
        await session.close_if_unused()


def _ask_no_environment(client: ApiClient) -> None:
    """Keep aiohttp from looking for proxies and a .netrc before each request, each in a thread.

    There are no proxies, and kubectl reads no .netrc either: it has credentials of its own.
    """
    rest, asking = client.rest_client, client.rest_client.pool_manager
    rest.pool_manager = ClientSession(connector=asking.connector, read_bufsize=_LARGEST_EVENT)
    asking.detach()


_LARGEST_EVENT = 2 * 1024 * 1024
"""Bytes of a line of a watch: as much as the client's own session takes."""
