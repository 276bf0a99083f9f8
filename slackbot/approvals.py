"""Requests that wait for a second person. In memory only: after a restart they are asked anew."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from forensics_core.api.podcheckpoint import PodCheckpointSpec
from slackbot.authorisation import Person

LIMIT = 200
"""Requests that may wait at once; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A request, and the very pod that it is about."""

    spec: PodCheckpointSpec
    pod_uid: str
    requester: Person
    channel: str
    message: str
    """The timestamp of the message with the buttons."""


Expired = Callable[[Pending], Awaitable[None]]


class Approvals:
    """Keeps each request until it is taken once, or its time is over."""

    def __init__(self, tasks: TaskGroup, seconds: float, expired: Expired) -> None:
        self._tasks = tasks
        self._seconds = seconds
        self._expired = expired
        self._pending: dict[str, Pending] = {}

    @staticmethod
    def new_id() -> str:
        """Return an id that nobody guesses."""
        return secrets.token_urlsafe(16)

    def add(self, name: str, pending: Pending) -> None:
        """Let a request wait, under the id that its buttons bear."""
        while len(self._pending) >= LIMIT:
            self._pending.pop(next(iter(self._pending)))
        self._pending[name] = pending
        self._tasks.start_soon(self._expire, name)

    def get(self, name: str) -> Pending | None:
        """Return a request that still waits."""
        return self._pending.get(name)

    def take(self, name: str) -> Pending | None:
        """Return a request and forget it: the first to come decides."""
        return self._pending.pop(name, None)

    async def _expire(self, name: str) -> None:
        await anyio.sleep(self._seconds)
        pending = self.take(name)
        if pending:
            await self._expired(pending)
