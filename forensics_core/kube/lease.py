"""Leader election by a Lease: of several replicas one works, the others stand by.

Times are compared by each replica's own monotonic clock, so clocks may differ. A leader that cannot
renew stops its work before anybody else may begin; one that ends gives the Lease back at once::

    await lead(cluster, LeaseName("operator", "forensics-operator"), identity, run_operator)

Source: client-go, tools/leaderelection.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import SystemRandom

import anyio

from forensics_core._internal.tasks import task_group
from forensics_core.errors import ClusterError, LeaseLost, NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.resources import LEASES

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Seconds; the defaults are client-go's."""

    duration: int = 15
    """A Lease that nobody renewed for so long is free."""
    renew_within: float = 10.0
    """A leader that could not renew for so long stops."""
    retry: float = 2.0
    """Between two tries, to get it or to renew it."""


@dataclass(frozen=True, slots=True)
class LeaseName:
    """Which Lease."""

    name: str
    namespace: str


async def lead(
    cluster: ClusterConnection,
    lease: LeaseName,
    identity: str,
    body: Callable[[], Awaitable[None]],
    *,
    timing: LeaseTiming | None = None,
    heard: Callable[[], None] = lambda: None,
) -> None:
    """Wait for the Lease, run `body` while holding it, give it back.

    `identity` must be unique to this replica. `heard` is called whenever the API server has told
    how the Lease stands, also while somebody else has it. Raises what `body` raises, and
    `LeaseLost`, after cancelling `body`, if the Lease could not be renewed. Outages are waited out.
    """
    elector = _Elector(Objects(cluster, LEASES), lease, identity, timing or LeaseTiming(), heard)
    try:
        await elector.acquire()
        await elector.hold(body)
    finally:
        await elector.release()


@dataclass(slots=True)
class _Elector:
    leases: Objects
    lease: LeaseName
    identity: str
    timing: LeaseTiming
    heard: Callable[[], None]
    usurped: bool = False
    """Somebody else was found to hold the Lease."""
    seen: Object = field(default_factory=dict)
    """The spec that somebody else wrote last."""
    seen_at: float = 0.0
    lost: bool = False

    async def acquire(self) -> None:
        while not await self._attempt(self._take, self.timing.renew_within):
            await self._pause()
        log.info("%s leads: %s", self.identity, self.lease.name)

    async def hold(self, body: Callable[[], Awaitable[None]]) -> None:
        async with task_group() as group:
            group.start_soon(self._renew, group.cancel_scope)
            await body()
            group.cancel_scope.cancel()
        if self.lost:
            raise LeaseLost(
                f"The Lease '{self.lease.name}' could not be renewed",
                hint="Start again; see whether the API server is up and reachable from here",
            )

    async def release(self) -> None:
        """Give the Lease back, if it is ours, for the next replica to begin at once."""
        with anyio.CancelScope(shield=True):
            await self._attempt(self._give_back, self.timing.retry)

    async def _renew(self, scope: anyio.CancelScope) -> None:
        renewed = anyio.current_time()
        await self._pause()
        while not self.usurped and (left := self._left(renewed)) > 0:
            began = anyio.current_time()
            if await self._attempt(self._take, left):
                # Counted from before the request: nobody knows when the server wrote it.
                renewed = began
            await self._pause(at_most=self._left(renewed))
        self.lost = True
        scope.cancel()

    def _left(self, renewed: float) -> float:
        return renewed + self.timing.renew_within - anyio.current_time()

    async def _attempt(self, step: Callable[[], Awaitable[bool]], within: float) -> bool:
        """Make one step towards the Lease; no answer and any refusal count as a failure."""
        with anyio.move_on_after(within):
            try:
                done = await step()
                self.heard()
                return done
            except ClusterError as error:
                log.warning("The Lease '%s': %s", self.lease.name, error)
        return False

    async def _take(self) -> bool:
        """Create, take over or renew the Lease; tell whether it is ours."""
        try:
            current = await self.leases.get(self.lease.name, self.lease.namespace)
        except NotFound:
            return await self._create()
        spec = current.get("spec", {})
        self.usurped = not self._free(spec)
        if self.usurped:
            return False
        # In the version that was read: of two that take it at once, one meets a conflict.
        await self.leases.replace(current | {"spec": self._renewed(spec)})
        return True

    async def _create(self) -> bool:
        metadata = {"name": self.lease.name, "namespace": self.lease.namespace}
        self.usurped = False
        spec = self._renewed({}) | {"leaseTransitions": 0}
        await self.leases.create({"metadata": metadata, "spec": spec})
        return True

    async def _give_back(self) -> bool:
        current = await self.leases.get(self.lease.name, self.lease.namespace)
        spec = current.get("spec", {})
        if spec.get("holderIdentity") == self.identity:
            # As client-go does: a Lease has to last for a second at least.
            free = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
            await self.leases.replace(current | {"spec": spec | free})
        return True

    def _free(self, spec: Object) -> bool:
        """Whether the Lease is ours, nobody's, or of somebody who has not renewed it in time."""
        holder = spec.get("holderIdentity")
        if not holder or holder == self.identity:
            return True
        # Any write is a sign of life, whatever time it says: another machine's clock may be wrong.
        if spec != self.seen:
            self.seen, self.seen_at = spec, anyio.current_time()
        term = spec.get("leaseDurationSeconds") or self.timing.duration
        return anyio.current_time() >= self.seen_at + term

    def _renewed(self, spec: Object) -> Object:
        now = _now()
        ours = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.timing.duration,
            "renewTime": now,
        }
        if spec.get("holderIdentity") == self.identity:
            return spec | ours
        transitions = (spec.get("leaseTransitions") or 0) + 1
        return spec | ours | {"acquireTime": now, "leaseTransitions": transitions}

    async def _pause(self, at_most: float = math.inf) -> None:
        # Replicas that began together would else ask together for ever.
        pause = self.timing.retry * SystemRandom().uniform(0.8, 1.2)
        await anyio.sleep(min(pause, max(at_most, 0.0)))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
