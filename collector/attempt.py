"""One attempt at a work order: which containers it found, what it captured, what it could not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from secrets import token_bytes
from typing import Literal

import anyio

from collector.artifacts import checkpoint, layers, node
from collector.artifacts.kinds import KINDS, KindCapture
from collector.container import ContainerCapture
from collector.gaps.inherent import inherent_gaps
from collector.limits import RateLimit, Stop
from collector.pausing.pause import LIMIT, Pause, paused
from collector.preopen import MAX_DESCRIPTORS, Preopened, preopening
from collector.recording.recorder import recorded
from collector.runtimes.runtime import ContainerInfo, Runtime, Unavailable
from forensics_core._internal.tasks import task_group
from forensics_core.api.order import ArtifactKind, ContainerTarget, WorkOrder
from forensics_core.bundle.manifest import Clocks, Container, NotCaptured
from forensics_core.bundle.writer import BundleWriter
from forensics_core.errors import (
    ContainerGone,
    ContainerNotFound,
    DestinationError,
    ForensicsError,
    ObjectTooLarge,
    RuntimeUnavailable,
    SourceError,
    UsageError,
)

MARGIN = 30.0
"""Seconds before the deadline, a tenth of it at most, that are kept for the end of the bundle."""

OPENING = 60.0
"""Seconds that opening what can vanish may take, of all containers together."""

CLOSING = 20.0
"""Seconds that a stream which was cut may take to be stored."""


@dataclass
class Attempt:
    """The capture of an order's containers into `bundle`, under way."""

    order: WorkOrder
    runtime: Runtime
    bundle: BundleWriter
    stop: Stop = field(default_factory=Stop)
    at_once: int = 1
    """Containers that are read at the same time."""
    rate_limit: RateLimit = field(default_factory=RateLimit)
    """How fast they are read, all together."""
    digest_key: bytes = field(default_factory=partial(token_bytes, 32), repr=False)
    """With which digests of secrets are made."""
    kinds: Mapping[ArtifactKind, KindCapture] = field(default_factory=lambda: KINDS)
    """How each kind is captured, in order of volatility."""
    max_held: int = MAX_DESCRIPTORS
    """Descriptors that may be held open."""
    captures: list[ContainerCapture] = field(default_factory=list)
    lost: list[Container] = field(default_factory=list)
    """Targets that were gone before anything could be read."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=anyio.current_time)

    @property
    def deadline(self) -> float:
        """When reading ends, by the event loop's clock."""
        seconds = self.order.active_deadline_seconds
        return self.clock + seconds - min(MARGIN, seconds / 10)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Find the containers, and hold open for the block what of them can vanish.

        Raises the last failure if not one of them is there.
        """
        async with preopening(self.max_held) as hold:
            await self._find_all(hold)
            await self._hold(hold)
            yield

    async def _hold(self, hold: Preopened) -> None:
        """Hold files, first of containers that do not run: they are what a runtime removes."""
        kinds = self.order.artifacts
        with self.stop.scope(min(self.deadline, anyio.current_time() + OPENING)):
            for capture in sorted(
                self.captures, key=lambda capture: capture.container.pid is not None
            ):
                layers, root = ArtifactKind.DIFF in kinds, ArtifactKind.FILESYSTEM in kinds
                await hold.files(capture, layers=layers, root=root)

    async def _find_all(self, hold: Preopened) -> None:
        failure: ForensicsError | None = None
        for target in self.order.targets:
            try:
                container = await self.runtime.find(target.container_id)
            except (ContainerNotFound, ContainerGone) as error:
                failure = error
                self._lose(target, error)
            else:
                capture = self._enter(target, container)
                if ArtifactKind.LOGS in self.order.artifacts:
                    await hold.logs(capture)
        if failure and not self.captures:
            raise failure

    def _enter(self, target: ContainerTarget, container: ContainerInfo) -> ContainerCapture:
        capture = ContainerCapture(
            target.name,
            container,
            self.runtime,
            self.bundle,
            self.order.compression,
            self.deadline,
            stop=self.stop,
            peers=len(self.order.targets),
            rate_limit=self.rate_limit,
            wanted=frozenset(self.order.artifacts),
            deleted_budget=self.order.deleted_budget,
            volumes=self.order.volumes,
            digest_key=self.digest_key,
            freeze=self.order.freeze,
            kubelet_checkpoint=next(
                (told for told in self.order.kubelet_checkpoints if told.container == target.name),
                None,
            ),
        )
        self.captures.append(capture)
        self.bundle.meter.artifacts_total += sum(self._files(kind) for kind in self.order.artifacts)
        return capture

    def _lose(self, target: ContainerTarget, error: ForensicsError) -> None:
        gap = NotCaptured(
            what="container", container=target.name, reason="Gone", message=str(error)
        )
        self.bundle.record_gap(gap)
        self.lost.append(
            Container(
                name=target.name,
                container_id=target.container_id,
                image=target.image,
                runtime=self.runtime.scheme,
                result="Failed",
                reason="Gone",
            )
        )

    async def capture_all(self) -> None:
        """Capture kind after kind, each of all containers, and record what is left out.

        The containers stand still meanwhile where the order says so.
        """
        async with recorded(self.captures, self.order.record):
            await self._capture_all()

    async def _capture_all(self) -> None:
        running = sum(capture.container.pid is not None for capture in self.captures)
        self.bundle.meter.artifacts_total += node.files(self.order.artifacts, running)
        if self.order.pause:
            await self._capture_paused()
        else:
            await self._capture_kinds()
        # Last, and while everything runs: what it reads is the node's, and no container's.
        elapsed = anyio.current_time() - self.clock
        await layers.collect(self.captures, layers.seconds_for(self.order.layer_seconds, elapsed))

    async def _capture_paused(self) -> None:
        still = [capture.container for capture in self.captures]
        seconds = max(min(LIMIT, self.deadline - anyio.current_time()), 0)
        async with paused(self.runtime, still, seconds) as pause:
            await self._capture_kinds()
        self._account(pause, seconds)

    def _account(self, pause: Pause, seconds: float) -> None:
        """Record where the containers did not stand still all the time."""
        for container, why in pause.failures.items():
            message = f"{container} could not be paused, or not be resumed: {why}"
            self.bundle.record_gap(NotCaptured(what="pause", reason="Failed", message=message))
        if pause.ended_early:
            message = f"The containers went on after {seconds:.0f} s, before the capture ended"
            self.bundle.record_gap(
                NotCaptured(what="pause", reason="Limit", message=message, requested=False)
            )

    async def _capture_kinds(self) -> None:
        kinds = self.order.artifacts
        async with task_group() as tasks:
            for kind in self.kinds:
                if kind in kinds:
                    await self._capture_kind(kind)
                if kind is ArtifactKind.NETWORK:
                    # Beside what is less volatile: the kernel takes its time, and no container's.
                    tasks.start_soon(node.collect, self.captures, kinds, self.order.pod)
        for kind in self.order.artifacts:
            if kind not in {*self.kinds, ArtifactKind.CONTEXT}:
                message = f"This release cannot capture {kind}"
                self.bundle.record_gap(
                    NotCaptured(what=kind, reason="NotSupported", message=message)
                )
        containers = [(capture.name, capture.container) for capture in self.captures]
        self._record_left()
        for gap in inherent_gaps(containers, self.order.artifacts):
            self.bundle.record_gap(gap)
        for line in self.order.not_captured:
            self.bundle.record_gap(NotCaptured(what="context", reason="NotGathered", message=line))

    def _record_left(self) -> None:
        """Record the kubelet's archives that were not seen to: nobody else would remove them."""
        for capture in self.captures:
            told = capture.kubelet_checkpoint
            if told and told.archive:
                checkpoint.record_left(capture, told.archive, "There was no time for it")

    async def _capture_kind(self, kind: ArtifactKind) -> None:
        places = anyio.Semaphore(self.at_once)

        async def one(capture: ContainerCapture) -> None:
            async with places:
                await self._capture(capture, kind)

        async with task_group() as tasks:
            for capture in self.captures:
                tasks.start_soon(one, capture)

    async def _capture(self, capture: ContainerCapture, kind: ArtifactKind) -> None:
        before = capture.added
        try:
            if not await self._in_time(capture, kind):
                capture.record_time_gap(kind)
        except (DestinationError, UsageError):
            raise
        except Exception as error:  # what a container can provoke must not cost the other evidence
            capture.record_gap(kind, _reason(error), _message_of(error))
        self.bundle.meter.artifacts_total -= self._files(kind) - (capture.added - before)

    async def _in_time(self, capture: ContainerCapture, kind: ArtifactKind) -> bool:
        """Capture one artifact; return whether there was time for it, be it cut."""
        if self.stop.requested or anyio.current_time() >= self.deadline:
            return False
        grace = CLOSING if self.kinds[kind].cuttable else 0
        with self.stop.scope(self.deadline, grace) as scope:
            await self.kinds[kind].collect(capture)
        return not scope.cancelled_caught

    def _files(self, kind: ArtifactKind) -> int:
        return self.kinds[kind].files if kind in self.kinds else 0

    def containers(self) -> list[Container]:
        """Return a row for each target, with what became of it."""
        gaps = {gap.container for gap in self.bundle.not_captured if gap.requested}
        return [_row(capture, capture.name in gaps) for capture in self.captures] + self.lost

    def clocks(self) -> tuple[Clocks, ...]:
        """Return this machine's clock at the start and now, in between it and the destination's."""
        heard = [
            self._clocks(each.heard, each.monotonic, each.date)
            for each in self.bundle.destination.clock_samples
        ]
        now = self._clocks(datetime.now(UTC), anyio.current_time())
        return Clocks(node=self.started), *heard, now

    def _clocks(self, node: datetime, monotonic: float, date: datetime | None = None) -> Clocks:
        offset = round(monotonic - self.clock, 6)
        return Clocks(node=node, destination=date, monotonic_offset=offset)


def _reason(error: Exception) -> str:
    match error:
        case Unavailable():
            return error.reason
        case ContainerGone() | ContainerNotFound():
            return "Gone"
        case RuntimeUnavailable():
            return "RuntimeUnavailable"
        case ObjectTooLarge():
            return "TooLarge"
        case SourceError():
            return "SourceFailed"
        case OSError():
            return "Unreadable"
        case _:
            return "Unexpected"


def _message_of(error: Exception) -> str:
    expected = isinstance(error, ForensicsError | OSError)
    return str(error) if expected else f"{type(error).__name__}: {error}"


def _row(capture: ContainerCapture, gaps: bool) -> Container:
    result: Literal["Captured", "Partial", "Failed"] = "Partial" if gaps else "Captured"
    return Container(
        name=capture.name,
        container_id=capture.container.container_id,
        image=capture.container.image,
        image_id=capture.container.image_id,
        runtime=capture.runtime.scheme,
        state=capture.container.state,
        result=result if capture.added else "Failed",
    )
