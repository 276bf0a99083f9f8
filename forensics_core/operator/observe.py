"""Observing: what the caches say of a checkpoint, and looking at whatever a decision asks for."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio

from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from forensics_core.api.urgency import urgency_of
from forensics_core.bundle.layout import MANIFEST, SEAL
from forensics_core.errors import (
    DestinationError,
    DestinationUnreachable,
    NotFound,
    ObjectNotFound,
    VerificationError,
)
from forensics_core.operator.attempt.jobs import thaw_name
from forensics_core.operator.attempt.monitor import why_no_pod
from forensics_core.operator.attempt.pods import node_of
from forensics_core.operator.containment.enforcement import NamespaceSurroundings
from forensics_core.operator.containment.surroundings import look_around
from forensics_core.operator.evidence.comparison import disagreements, nothing_of, untimely
from forensics_core.operator.evidence.listed import ListedBundle
from forensics_core.operator.evidence.manifest import (
    LIMIT,
    BundleFacts,
    StoredManifest,
    UnreadableManifest,
    aside,
    evidence_of,
)
from forensics_core.operator.evidence.seal import check_objects, check_seal
from forensics_core.operator.observed import (
    Absent,
    Contradicting,
    Foreign,
    Good,
    Interrupted,
    Look,
    Observed,
    ObservedDestination,
    ObservedManifest,
    ObservedPod,
    ObservedSeal,
    OrderLost,
    StoredOrder,
    Unchecked,
    Unreachable,
    Unreadable,
)
from forensics_core.operator.shared.operator_context import OperatorContext
from forensics_core.operator.status import at_attempt
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.storage import read_small


class Observer:
    """Observes checkpoints."""

    def __init__(self, shared: OperatorContext) -> None:
        self._shared = shared

    def at_hand(self, key: str) -> Observed | None:
        """Return what is known of a checkpoint without asking anybody; None if there is none."""
        cache = self._shared.cache
        checkpoint = cache.checkpoint(key)
        if checkpoint is None:
            return None
        collector_pod = cache.collector_pod(checkpoint)
        followers = self._shared.followers
        return self._counted(
            Observed(
                checkpoint=checkpoint,
                now=datetime.now(UTC),
                job=cache.job(checkpoint),
                collector_pod=collector_pod,
                progress=followers.latest(key, collector_pod) if collector_pod else None,
                said_end=collector_pod is not None and followers.said_end(collector_pod),
                context_stored=checkpoint.status.location in self._shared.stored,
                thawed=self._is_thawed(checkpoint),
            )
        )

    def _is_thawed(self, checkpoint: PodCheckpoint) -> bool:
        name = thaw_name(checkpoint) if checkpoint.spec.pause else ""
        return bool(name) and self._shared.cache.job_named(checkpoint, name) is not None

    async def look(self, look: Look, observed: Observed, held: AsyncExitStack) -> Observed:
        """Return the observation with one thing more; `held` keeps others from what is large."""
        match look:
            case Look.POD:
                seen = await self._pod(observed)
            case Look.ORDER:
                order = await self._shared.order(observed.checkpoint)
                seen = replace(observed, order=order)
            case Look.DELAY:
                seen = await self._delay(observed)
            case Look.SIGNING_KEY:
                seen = replace(observed, signing_key=await self._shared.has_key())
            case Look.SURROUNDINGS:
                seen = await self._surroundings(observed)
            case _:
                seen = await self._look_into_the_store(look, observed, held)
        return self._counted(seen)

    async def _look_into_the_store(
        self, look: Look, observed: Observed, held: AsyncExitStack
    ) -> Observed:
        match look:
            case Look.DESTINATION:
                return await self._destination(observed)
            case Look.SEAL:
                return await self._seal(observed)
            case Look.MANIFEST:
                return await self._manifest(observed, held)
            case _:
                # Only one large manifest is held at a time.
                await held.aclose()
                own = observed.manifest
                if isinstance(own, Interrupted):
                    observed = replace(observed, manifest=replace(own, manifest=b""))
                return await self._bundles(observed)

    def _counted(self, observed: Observed) -> Observed:
        """Count the captures on the node anew: others may have begun meanwhile."""
        checkpoint = observed.checkpoint
        pod = observed.pod.pod if observed.pod else None
        node = node_of(pod) or checkpoint.status.node
        cache, blocked = self._shared.cache, self._shared.queue.failing
        return replace(
            observed,
            busy=cache.busy(checkpoint, node),
            line=cache.line(checkpoint, node, blocked),
            waiting=cache.waiting(checkpoint),
        )

    async def _pod(self, observed: Observed) -> Observed:
        pod = await self._shared.pod(observed.checkpoint)
        if pod is not None and observed.checkpoint.status.phase in {None, Phase.PENDING}:
            now = datetime.now(UTC)
            for key in self._shared.cache.look(observed.checkpoint, urgency_of(pod), now):
                self._shared.queue.add(key)
        return replace(observed, pod=ObservedPod(pod, await self._shared.node(pod)))

    async def _surroundings(self, observed: Observed) -> Observed:
        shared, pod = self._shared, (observed.pod and observed.pod.pod) or {}
        limit = shared.settings.timings.isolation.total_seconds()
        seen = NamespaceSurroundings(
            gaps=(f"what selects the pod could not be read within {limit:g} s",)
        )
        with anyio.move_on_after(limit):
            seen = await look_around(shared.reads, shared.enforcers, pod)
        return replace(observed, surroundings=seen)

    async def _delay(self, observed: Observed) -> Observed:
        """Look whether a Job that makes no pod is there at all; the cache may not have heard."""
        job = observed.job or {"metadata": {}}
        metadata = job["metadata"]
        try:
            await self._shared.jobs.get(metadata["name"], metadata["namespace"])
        except NotFound:
            # The watch missed its end. Without the Job the decision is another one.
            self._shared.cache.drop_job(job)
            return replace(observed, job=None)
        return replace(observed, delay=await why_no_pod(self._shared.reads, job))

    # The destination

    async def _destination(self, observed: Observed) -> Observed:
        """Look whether the destination lies inside somebody's sealed bundle."""
        checkpoint, settings = observed.checkpoint, self._shared.settings
        destination = settings.destination_of(checkpoint)
        rule = settings.rule_for(destination)
        if rule is None:
            return replace(observed, destination=ObservedDestination())
        folder = f"{destination.rstrip('/')}/{checkpoint.spec.subpath}"
        storage = self._shared.storage
        try:
            with storage.sparing(rule):
                inside = await storage.inside_a_bundle(folder, rule, self._is_sealed)
        except DestinationUnreachable as error:
            return replace(observed, destination=Unreachable(error))
        return replace(observed, destination=ObservedDestination(inside))

    async def _is_sealed(self, store: S3Storage) -> bool:
        """Return whether a manifest with a seal of ours lies there."""
        try:
            manifest = await read_small(store, MANIFEST, limit=LIMIT)
        except (ObjectNotFound, VerificationError):
            return False
        return await self._seal_over(store, manifest) is ObservedSeal.OURS

    async def _seal(self, observed: Observed) -> Observed:
        found = observed.manifest
        manifest = found.manifest if isinstance(found, Unchecked) else b""
        store = await self._shared.reader(observed.checkpoint)
        with self._shared.sparing(observed.checkpoint):
            return replace(observed, seal=await self._seal_over(store, manifest))

    async def _seal_over(self, store: S3Storage, manifest: bytes) -> ObservedSeal:
        key = await self._shared.key()
        if key is None:
            return ObservedSeal.ABSENT
        try:
            await check_seal(store, manifest, key)
        except ObjectNotFound:
            return ObservedSeal.ABSENT
        except VerificationError:
            return ObservedSeal.FOREIGN
        return ObservedSeal.OURS

    # Manifests

    async def _manifest(self, observed: Observed, held: AsyncExitStack) -> Observed:
        """Read the current attempt's manifest, and compare it with all there is to compare."""
        checkpoint, shared = observed.checkpoint, self._shared
        sha256 = checkpoint.status.manifest_sha256
        sealing = checkpoint.status.phase is Phase.SEALING
        try:
            store = await shared.bundle(checkpoint)
            with shared.sparing(checkpoint):
                found = await held.enter_async_context(
                    shared.manifests.find(store, sha256 if sealing else "")
                )
                if found is None:
                    return replace(observed, manifest=Absent())
                order = observed.order or await shared.order(checkpoint)
                if sealing and found.bundle.manifest_sha256 != sha256:
                    seen: ObservedManifest = _foreign(found, order)
                else:
                    seen = await self._compared(checkpoint, store, found, order)
        except UnreadableManifest as error:
            return replace(observed, manifest=Unreadable(str(error)))
        except DestinationError as error:
            return replace(observed, manifest=Unreachable(error))
        return replace(observed, manifest=seen, order=order)

    async def _compared(
        self,
        checkpoint: PodCheckpoint,
        store: ListedBundle,
        found: StoredManifest,
        order: StoredOrder | OrderLost,
    ) -> ObservedManifest:
        if isinstance(order, OrderLost):
            return Unchecked(evidence_of(found.bundle), found.data)
        wrong = tuple(await self._differences(checkpoint, store, found, order))
        evidence = evidence_of(found.bundle)
        if evidence.interrupted:
            return Interrupted(evidence, found.data, wrong)
        return Contradicting(wrong) if wrong else Good(evidence, found.data)

    async def _differences(
        self,
        checkpoint: PodCheckpoint,
        store: ListedBundle,
        found: StoredManifest,
        order: StoredOrder,
    ) -> list[str]:
        """Return each way in which an attempt's bundle is not what was ordered, or what it says.

        `checkpoint` is as it was at that attempt. Raises what the destination raises.
        """
        statement, now = found.bundle.statement, datetime.now(UTC)
        skew = timedelta(seconds=self._shared.settings.clock_skew_seconds)
        begin = (checkpoint.status.start_time or now) - skew

        def compare() -> list[str]:
            wrong = disagreements(statement, order.order, order.sha256)
            return [*wrong, *untimely(statement.predicate, begin, now + skew)]

        wrong = await aside(len(found.data), compare)
        # What contradicts its order is not worth a request for each object that it names.
        if wrong:
            return wrong
        if checkpoint.status.phase is not Phase.SEALING and await store.has(SEAL):
            # Found later, when the pod is killed already, it would leave the evidence without ours.
            return [f"{SEAL} was written before the operator sealed anything"]
        wrong = await check_objects(store, statement, order.order)
        return wrong or nothing_of(statement.predicate, order.order)

    async def _bundles(self, observed: Observed) -> Observed:
        """Look at what other attempts left: their orders are kept until there is an end."""
        status = observed.checkpoint.status
        # The current attempt's was looked at already, or it is one of the others.
        last = status.attempt - (observed.manifest is not None)
        found: list[BundleFacts] = []
        try:
            for attempt in range(last, 0, -1):
                evidence = await self._of_attempt(observed.checkpoint, attempt)
                found += [evidence] if evidence else []
        except DestinationUnreachable as error:
            return replace(observed, bundles=Unreachable(error))
        return replace(observed, bundles=tuple(found))

    async def _of_attempt(self, checkpoint: PodCheckpoint, attempt: int) -> BundleFacts | None:
        """Return what an attempt stored, if it is what was ordered."""
        ordered = await self._shared.order(checkpoint, attempt)
        if isinstance(ordered, OrderLost) or not _is_ours(ordered, checkpoint, attempt):
            return None
        order = ordered.order
        then = at_attempt(checkpoint, attempt, f"{order.destination}/{order.bundle}/")
        try:
            with self._shared.sparing(then):
                store = await self._shared.bundle(then)
                async with self._shared.manifests.find(store) as found:
                    if found is None or await self._differences(then, store, found, ordered):
                        return None
                    return evidence_of(found.bundle)
        except DestinationUnreachable:
            raise
        except (DestinationError, UnreadableManifest):
            return None


def _foreign(found: StoredManifest, order: StoredOrder | OrderLost) -> ObservedManifest:
    if isinstance(order, OrderLost):
        return Unchecked(evidence_of(found.bundle), found.data)
    return Foreign()


def _is_ours(ordered: StoredOrder, checkpoint: PodCheckpoint, attempt: int) -> bool:
    order = ordered.order
    return (str(order.uid), order.attempt) == (checkpoint.metadata.uid, attempt)
