"""`/healthz` and `/readyz`: does the bot live, and do Slack's calls reach it?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from forensics_core.service.health import Contact

LOST = 120.0
"""Seconds without a connection after which a restart may help."""


class Liveness:
    """Remembers when the connection was last there."""

    def __init__(self) -> None:
        self._connected: Callable[[], Awaitable[bool]] | None = None
        self._ready: Callable[[], bool] = lambda: False
        self._contact = Contact(LOST)
        # It starts well: whoever has not connected yet gets as long as whoever lost it.
        self._contact.heard()

    def watch(self, connected: Callable[[], Awaitable[bool]], ready: Callable[[], bool]) -> None:
        """Ask these from now on; before, there is no connection."""
        self._connected, self._ready = connected, ready

    async def connected(self) -> bool:
        """Return whether it is there now."""
        there = self._connected is not None and bool(await self._connected())
        if there:
            self._contact.heard()
        return there

    async def ready(self) -> bool:
        """Return whether it is there, and the cluster is known too."""
        return await self.connected() and self._ready()

    async def alive(self) -> bool:
        """Return whether it is there, or was not long ago."""
        return await self.connected() or self._contact.recent
