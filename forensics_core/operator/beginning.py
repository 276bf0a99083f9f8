"""The beginning of an attempt: look at the pod, gather its context, write the order, start the Job.

What a later write relies on is written first: the status fixes the names before anything bears
them, the context is stored before the order tells its digests, the order exists before the Job.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime

import anyio

from forensics_core.api.names import FINALIZER
from forensics_core.api.order import WorkOrder
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from forensics_core.bundle.layout import MANIFEST
from forensics_core.errors import (
    AlreadyExists,
    ClusterError,
    DestinationError,
    DestinationFull,
    DestinationUnreachable,
    ForensicsError,
    Invalid,
    ObjectNotFound,
    UsageError,
    VerificationError,
)
from forensics_core.kube.objects import Object, Objects
from forensics_core.operator import statuses
from forensics_core.operator.cache import name_of
from forensics_core.operator.checks import (
    NotYet,
    Refusal,
    check,
    destination_of,
    inside_another,
)
from forensics_core.operator.context import ForeignObject
from forensics_core.operator.desk import Desk, fields_of
from forensics_core.operator.ending import Ending
from forensics_core.operator.gathering import Gathering
from forensics_core.operator.jobs import build_job
from forensics_core.operator.manifests import LIMIT
from forensics_core.operator.orders import build_order, build_secret, never_created
from forensics_core.operator.reconcile import LookAtPod, Observed
from forensics_core.operator.sealing import check_seal
from forensics_core.storage.s3_store import S3Store
from forensics_core.storage.store import read_small

log = logging.getLogger(__name__)

LOOK_AGAIN = 5.0
"""Seconds until a pod that is not ready to be captured is looked at again."""


class NameTaken(ClusterError):
    """Somebody else's object bears the name that one of ours has to have."""


UNREACHABLE = "DestinationUnreachable"


def _is_definite(error: ForensicsError) -> bool:
    """Whether another try would meet the same again."""
    passing = (DestinationUnreachable, DestinationFull, ForeignObject)
    return isinstance(error, NameTaken | Invalid | UsageError) or (
        isinstance(error, DestinationError) and not isinstance(error, passing)
    )


def _reason(error: ForensicsError) -> str:
    """Return the condition's reason for what a destination or the cluster refused."""
    refused = type(error) in {DestinationError, UsageError}
    return "DestinationRefused" if refused else type(error).__name__


class Beginning:
    """Begins attempts."""

    def __init__(self, desk: Desk, ending: Ending) -> None:
        self._desk = desk
        self._ending = ending
        self.gathering = Gathering(desk)
        self._one_at_a_time = anyio.Lock()

    async def protect(self, checkpoint: PodCheckpoint) -> None:
        """Add the finalizer, so that a deletion can be tidied up after."""
        metadata = {
            "finalizers": [*checkpoint.metadata.finalizers, FINALIZER],
            "resourceVersion": checkpoint.metadata.resource_version,
        }
        patched = await self._desk.checkpoints(checkpoint).patch(
            checkpoint.metadata.name, {"metadata": metadata}
        )
        self._desk.learn(patched)

    async def look_at_pod(self, step: LookAtPod, observed: Observed) -> None:
        """Check the request against the pod as it is now; begin, wait or refuse."""
        checkpoint, settings = observed.checkpoint, self._desk.settings
        pod = await self._desk.pod(checkpoint)
        node = await self._desk.node(pod)
        verdict = check(checkpoint, pod, node, settings)
        if verdict is None and pod is not None:
            try:
                verdict = await self._occupied(checkpoint)
            except DestinationUnreachable as error:
                await self._wait(step, observed, pod, NotYet(UNREACHABLE, str(error)))
                raise
        if isinstance(verdict, Refusal):
            await self._ending.give_up(observed, verdict.reason, verdict.message)
        elif isinstance(verdict, NotYet):
            await self._wait_for_pod(step, observed, pod or {}, verdict)
        elif pod is not None:
            await self._begin(step, observed, pod)

    async def _occupied(self, checkpoint: PodCheckpoint) -> Refusal | None:
        """Return the refusal of a destination that lies inside somebody's bundle."""
        settings = self._desk.settings
        destination = destination_of(checkpoint, settings)
        rule = settings.rule_for(destination)
        folder = f"{destination.rstrip('/')}/{checkpoint.spec.subpath}"
        if rule is None or checkpoint.status.attempt:
            return None
        with self._desk.storage.sparing(rule):
            occupied = await self._desk.storage.inside_a_bundle(folder, rule, self._is_sealed)
        return inside_another(folder) if occupied else None

    async def _is_sealed(self, store: S3Store) -> bool:
        """Return whether a manifest with a seal of ours lies there."""
        key = await self._desk.key()
        if key is None:
            return False
        try:
            manifest = await read_small(store, MANIFEST, limit=LIMIT)
            await check_seal(store, manifest, key)
        except (ObjectNotFound, VerificationError):
            return False
        return True

    async def _begin(self, step: LookAtPod, observed: Observed, pod: Object) -> None:
        checkpoint, settings = observed.checkpoint, self._desk.settings
        node = pod["spec"]["nodeName"]
        async with self._one_at_a_time:
            if self._desk.cache.busy(checkpoint, node) < settings.captures_per_node:
                destination = destination_of(checkpoint, settings)
                status = statuses.begun(
                    checkpoint, pod, destination, step.attempt, step.why, observed.now
                )
                begun = await self._desk.write(checkpoint, status)
            else:
                begun = None
        if begun is None:
            message = f"Another pod of the node '{node}' is being captured."
            busy = NotYet("NodeBusy", message, capturable=True)
            # Whoever leaves the place wakes those who wait for it.
            await self._wait(step, observed, pod, busy, node=node)
            return
        log.info(
            "attempt %s of %s begins", step.attempt, name_of(checkpoint), extra=fields_of(begun)
        )
        await self._start(replace(observed, checkpoint=begun), pod)

    async def _wait_for_pod(
        self, step: LookAtPod, observed: Observed, pod: Object, why: NotYet
    ) -> None:
        """Wait for a pod or its node; give up on one that takes too long."""
        since = statuses.waiting_since(observed.checkpoint, why.reason, observed.now)
        waited = (observed.now - since).total_seconds()
        if waited > self._desk.settings.pod_wait_seconds:
            message = f"{why.message} Waited {waited:.0f} s for it."
            await self._ending.give_up(observed, why.reason, message)
            return
        self._desk.wake(observed.checkpoint, LOOK_AGAIN)
        await self._wait(step, observed, pod, why)

    async def _wait(
        self, step: LookAtPod, observed: Observed, pod: Object, why: NotYet, node: str = ""
    ) -> None:
        """Say what is waited for, once; gather meanwhile what may be gone by then."""
        checkpoint, now = observed.checkpoint, observed.now
        location = ""
        if why.capturable:
            destination = destination_of(checkpoint, self._desk.settings)
            location = statuses.location_of(checkpoint, destination, step.attempt, now)
        status = statuses.waiting(
            checkpoint, pod, why.reason, why.message, now, node=node, location=location
        )
        if status != checkpoint.status:
            checkpoint = await self._desk.write(checkpoint, status)
            self._desk.say(checkpoint, "Waiting", why.message)
        if why.capturable:
            await self._try(
                replace(observed, checkpoint=checkpoint), self.gathering.store(checkpoint, pod)
            )

    async def resume(self, observed: Observed) -> None:
        """Go on with an attempt that a crash left without an order, if its pod is still there."""
        checkpoint = observed.checkpoint
        pod = await self._desk.pod(checkpoint)
        verdict = check(checkpoint, pod, await self._desk.node(pod), self._desk.settings)
        if isinstance(verdict, Refusal) or (verdict is not None and not verdict.capturable):
            await self._ending.give_up(observed, verdict.reason, verdict.message)
        elif pod is not None:
            await self._start(observed, pod)

    async def _start(self, observed: Observed, pod: Object) -> None:
        await self._try(observed, self._start_job(observed.checkpoint, pod))

    async def _try(self, observed: Observed, work: Awaitable[object]) -> None:
        """Await `work`; give up at once where trying again would be refused again.

        Where somebody else has written at the attempt's location, take another one. The error is
        raised all the same, so that a store that calls everything there foreign is asked less and
        less often.
        """
        try:
            await work
        except ForeignObject:
            checkpoint = observed.checkpoint
            destination = destination_of(checkpoint, self._desk.settings)
            status = statuses.relocated(checkpoint, destination, datetime.now(UTC))
            await self._desk.write(checkpoint, status)
            raise
        except DestinationUnreachable as error:
            await self._step_back(observed.checkpoint, error)
            raise
        except ForensicsError as error:
            if not _is_definite(error):
                raise
            await self._ending.give_up(observed, _reason(error), str(error))

    async def _step_back(self, checkpoint: PodCheckpoint, error: ForensicsError) -> None:
        """Give the place on the node to others while the destination is away."""
        if checkpoint.status.phase is not Phase.CAPTURING:
            return
        status = statuses.stepped_back(checkpoint, UNREACHABLE, str(error), datetime.now(UTC))
        await self._desk.write(checkpoint, status)

    async def _start_job(self, checkpoint: PodCheckpoint, pod: Object) -> None:
        """Gather the context, then write the order, then the Job."""
        gathered = await self.gathering.store(checkpoint, pod)
        missing = never_created(pod, checkpoint.spec.containers)
        gaps = [*gathered.gaps, *(f"container {name}: it was never created" for name in missing)]
        destination = destination_of(checkpoint, self._desk.settings)
        seconds = statuses.seconds_left(checkpoint, datetime.now(UTC))
        order = build_order(checkpoint, pod, gathered.files, gaps, destination, seconds)
        await self._create(self._desk.secrets, build_secret(checkpoint, order), checkpoint)
        self.gathering.forget(checkpoint)
        await self._create_job(checkpoint, order)

    async def start_again(self, observed: Observed, order: WorkOrder) -> None:
        """Make the Job of an attempt whose order is written."""
        try:
            await self._create_job(observed.checkpoint, order)
        except NameTaken as error:
            await self._ending.give_up(observed, type(error).__name__, str(error))

    async def _create_job(self, checkpoint: PodCheckpoint, order: WorkOrder) -> None:
        """Create the current attempt's Job, or adopt it."""
        rule, settings = self._desk.rule(checkpoint), self._desk.settings.collector
        job = build_job(checkpoint, rule, settings, order.active_deadline_seconds)
        made = await self._create(self._desk.jobs, job, checkpoint)
        if self._desk.cache.job(checkpoint) is None:
            self._desk.cache.put_job(made)
        self._desk.say(
            checkpoint,
            "CaptureStarted",
            f"Job {checkpoint.status.job_name} captures the pod on node {checkpoint.status.node}.",
        )

    async def _create(self, objects: Objects, body: Object, checkpoint: PodCheckpoint) -> Object:
        """Create a child, or adopt the one that is there if it is ours."""
        try:
            return await objects.create(body)
        except AlreadyExists:
            metadata = body["metadata"]
            there = await objects.get(metadata["name"], metadata["namespace"])
            owners = there["metadata"].get("ownerReferences") or []
            if checkpoint.metadata.uid not in {owner.get("uid") for owner in owners}:
                raise NameTaken(
                    f"There is a {body['kind']} '{metadata['name']}' that is not this checkpoint's",
                    hint="See who made it, delete it, and create another PodCheckpoint",
                ) from None
            return there
