"""Requests that wait for approval. In memory only: a restart ends them, and their messages."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup

from forensics_core.api.podcheckpoint import PodCheckpointSpec
from forensics_core.api.selection import SelectedPod
from slackbot.authorisation import AccessScope, Person
from slackbot.settings import Settings


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request, and the very pod that it is about."""

    spec: PodCheckpointSpec
    pod_uid: str
    requester: Person
    channel: str
    message: str = ""
    """The timestamp of the message with the buttons."""
    thread: str = ""
    """The message in whose thread the form was opened."""
    pods: tuple[SelectedPod, ...] = ()
    """All that are meant, in place of the one that the spec names."""
    again: bool = False
    """Those that are captured already, too."""
    release: str = ""
    """The PodCheckpoint whose isolation is to be lifted, in place of a capture."""
    release_uid: str = ""
    """Its UID: another one may have its name by the time of an approval."""
    pinned: bool = False
    """No other pod of that name is meant, approved or not."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Where the pods are."""
        named = sorted({pod.namespace for pod in self.pods})
        return tuple(named) or (self.spec.namespace or "",)

    @property
    def scopes(self) -> tuple[AccessScope, ...]:
        """What access the request takes."""
        if self.pods:
            return tuple(AccessScope.of(self.spec, name) for name in self.namespaces)
        if self.release:
            return (AccessScope(self.namespaces[0], self.spec.pod, release=True),)
        return (AccessScope.of(self.spec),)


OnExpired = Callable[[PendingRequest, str], Coroutine[Any, Any, None]]
"""Called with a request that nobody decided, and the reason: `approval.*` in the catalogue."""


async def forget(_: PendingRequest, __: str) -> None:
    """Do nothing about a request that nobody decided."""


CLOSE_SECONDS = 5.0
"""Seconds that the end may take."""


class Approvals:
    """Keeps each request until it is taken once, or its time is over."""

    def __init__(self, tasks: TaskGroup, settings: Settings, on_expired: OnExpired) -> None:
        self._tasks = tasks
        self._seconds = settings.approval_seconds
        self._limit = settings.approval_limit
        self._on_expired = on_expired
        # In memory: kept in the cluster, others with rights there could change what was requested.
        self._pending: dict[str, PendingRequest] = {}

    @staticmethod
    def new_id() -> str:
        """Return an id that nobody guesses."""
        return secrets.token_urlsafe(16)

    def add(self, name: str, pending: PendingRequest) -> None:
        """Let a request wait, under the id that its buttons carry; a full list drops the oldest."""
        # Dicts keep the order of insertion: the first key is the oldest request.
        while len(self._pending) >= self._limit:
            oldest = self._pending.pop(next(iter(self._pending)))
            self._tasks.start_soon(self._on_expired, oldest, "approval.crowded")
        self._pending[name] = pending
        # The timer of a request that was decided finds nothing, and ends: it is not cancelled.
        self._tasks.start_soon(self._expire, name)

    def get(self, name: str) -> PendingRequest | None:
        """Return a request that still waits."""
        return self._pending.get(name)

    def take(self, name: str) -> PendingRequest | None:
        """Return a request and forget it: the first to come decides."""
        return self._pending.pop(name, None)

    async def _expire(self, name: str) -> None:
        await anyio.sleep(self._seconds)
        pending = self.take(name)
        if pending:
            await self._on_expired(pending, "approval.expired")

    async def close(self) -> None:
        """End all that still wait: nobody would find them after a restart."""
        waiting, self._pending = self._pending, {}
        # The bot is being cancelled here; Slack gets a moment, for the kubelet kills after 30 s.
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            async with anyio.create_task_group() as tasks:
                for pending in waiting.values():
                    tasks.start_soon(self._on_expired, pending, "approval.restarted")
