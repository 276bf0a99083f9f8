"""What selects a pod, and whether policies are enforced: all that isolating it depends on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from forensics_core._internal.tasks import task_group
from forensics_core.errors import ClusterError, NotFound
from forensics_core.kube import resources
from forensics_core.kube.objects import Object
from forensics_core.kube.resources import DAEMON_SETS, Resource
from forensics_core.operator.attempt.reads import BoundedListing, Reads
from forensics_core.operator.containment.enforcement import (
    DECLARED,
    KNOWN,
    UNKNOWN,
    Enforcement,
    NamespaceSurroundings,
    NetworkPolicies,
    judge,
)
from forensics_core.operator.containment.policy import controller_of

T = TypeVar("T")

_CONTROLLERS = {
    resource.kind: resource
    for resource in (
        resources.REPLICA_SETS,
        resources.STATEFUL_SETS,
        resources.DAEMON_SETS,
        resources.JOBS,
        Resource("", "v1", "replicationcontrollers", "ReplicationController"),
    )
}
"""Kinds that control pods by themselves, and find them by a selector."""


KEPT_SECONDS = 60.0
"""Seconds for which what was found is used again: network plugins seldom come and go."""


@dataclass(slots=True)
class Enforcers:
    """Looks for what enforces network policies, and remembers it for a while."""

    reads: Reads
    setting: NetworkPolicies = "detect"
    _found: Enforcement = UNKNOWN
    _at: float = float("-inf")
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def look(self) -> Enforcement:
        """Return what is known. Raises nothing because something cannot be read."""
        if self.setting == "enforced":
            return DECLARED
        async with self._lock:
            if time.monotonic() - self._at > KEPT_SECONDS:
                self._found = judge(await self._daemon_sets())
                self._at = time.monotonic()
            return self._found

    async def _daemon_sets(self) -> list[Object]:
        found: list[Object] = []
        async with task_group() as tasks:
            for namespace, name in KNOWN:
                tasks.start_soon(self._add, found, namespace, name)
        return found

    async def _add(self, found: list[Object], namespace: str, name: str) -> None:
        try:
            found.append(await self.reads.get_now(DAEMON_SETS, name, namespace))
        except NotFound:
            return
        except ClusterError:
            # What cannot be read is not known to be there.
            return


async def look_around(reads: Reads, enforcers: Enforcers, pod: Object) -> NamespaceSurroundings:
    """Return what is around `pod`. Never raises because something cannot be read."""
    namespace: str = pod["metadata"]["namespace"]
    gaps: list[str] = []

    async def listing(resource: Resource) -> tuple[Object, ...]:
        read = await _or_gap(
            lambda: reads.all(resource, namespace), BoundedListing(), resource, gaps
        )
        if read.cut:
            gaps.append(f"only the first {len(read.items)} {resource.plural} were read")
        return tuple(read.items)

    return NamespaceSurroundings(
        services=await listing(resources.SERVICES),
        policies=await listing(resources.NETWORK_POLICIES),
        controller=await _controller(reads, pod, gaps),
        enforcement=await enforcers.look(),
        gaps=tuple(gaps),
    )


async def _controller(reads: Reads, pod: Object, gaps: list[str]) -> Object | None:
    reference = controller_of(pod)
    if reference is None:
        return None
    resource = _CONTROLLERS.get(reference["kind"])
    if resource is None:
        gaps.append(f"its controller is a {reference['kind']}, whose selector is not known")
        return None
    name, namespace = reference["name"], pod["metadata"]["namespace"]
    nothing: Object = {}
    found = await _or_gap(lambda: reads.get(resource, name, namespace), nothing, resource, gaps)
    # The built-in kinds' lists and single objects may leave their kind out.
    return {"kind": resource.kind, **found} if found else None


async def _or_gap(
    read: Callable[[], Awaitable[T]], instead: T, resource: Resource, gaps: list[str]
) -> T:
    try:
        return await read()
    except ClusterError as error:
        gaps.append(f"{resource.plural} could not be read: {error.message}")
        return instead
