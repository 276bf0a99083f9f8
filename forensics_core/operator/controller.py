"""The loop: what the watches report goes into cache and queue, workers take it from there."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from forensics_core._internal.tasks import task_group
from forensics_core.api.names import RULE_LABEL
from forensics_core.api.podcheckpoint import Phase
from forensics_core.errors import Conflict, ForensicsError, NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.events import event_recorder
from forensics_core.kube.listwatch import EventType, listwatch
from forensics_core.kube.objects import Object
from forensics_core.kube.podcheckpoints import PodCheckpoints
from forensics_core.kube.resources import JOBS, PODCHECKPOINTS, PODS, Resource
from forensics_core.operator.act import act
from forensics_core.operator.actions import Action, Effects
from forensics_core.operator.alerts.endpoint import take_alerts
from forensics_core.operator.attempt.monitor import Followers
from forensics_core.operator.attempt.pods import SELECTOR
from forensics_core.operator.attempt.reads import Reads
from forensics_core.operator.decide.checkpoint import decide
from forensics_core.operator.effects import ClusterEffects
from forensics_core.operator.evidence.findings import FindingsReader
from forensics_core.operator.evidence.manifest import Manifests
from forensics_core.operator.evidence.storage import DestinationClients
from forensics_core.operator.keiko.mirror import KeikoMirror
from forensics_core.operator.observe import Observer
from forensics_core.operator.observed import Failure, Look, Observed
from forensics_core.operator.rules.controller import RuleController
from forensics_core.operator.rules.history import CaptureHistory
from forensics_core.operator.settings import Settings
from forensics_core.operator.shared.cache import Cache
from forensics_core.operator.shared.metrics import CONTROLLER, Metrics
from forensics_core.operator.shared.operator_context import OperatorContext
from forensics_core.operator.shared.queue import WorkQueue
from forensics_core.operator.shared.slim import slim_checkpoint, slim_child

log = logging.getLogger(__name__)


class Observing(Protocol):
    """What observes checkpoints: `Observer`."""

    def at_hand(self, key: str) -> Observed | None:
        """Return what is known of a checkpoint without asking anybody; None if there is none."""
        ...

    async def look(self, look: Look, observed: Observed, held: AsyncExitStack) -> Observed:
        """Return the observation with one thing more."""
        ...


async def reconcile(key: str, observer: Observing, effects: Effects) -> None:
    """Observe, decide, act, once; and once more where what the action met needs a decision."""
    async with AsyncExitStack() as held:
        observed = observer.at_hand(key)
        if observed is None:
            return
        action, observed = await _decided(observer, observed, effects.settings, held)
        log.debug("%s: %s", key, type(action).__name__)
        try:
            await act(action, observed, effects)
        except ForensicsError as error:
            # The status may have been written before it failed: what was looked at still holds.
            now = observer.at_hand(key)
            if now is None:
                raise
            failed = replace(
                observed,
                checkpoint=now.checkpoint,
                job=now.job,
                collector_pod=now.collector_pod,
                failure=Failure(action, error),
            )
            remedy, failed = await _decided(observer, failed, effects.settings, held)
            await act(remedy, failed, effects)


async def _decided(
    observer: Observing, observed: Observed, settings: Settings, held: AsyncExitStack
) -> tuple[Action, Observed]:
    """Look at whatever the decision asks for, until there is one."""
    while isinstance(step := decide(observed, settings), Look):
        observed = await observer.look(step, observed, held)
    return step, observed


class Controller:
    """Acts on the PodCheckpoints of the namespaces that the settings name."""

    def __init__(
        self, cluster: ClusterConnection, settings: Settings, metrics: Metrics, identity: str
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._metrics = metrics
        self._identity = identity
        self._cache = Cache()
        self._queue = WorkQueue(self._cache.urgency)
        self._captured = CaptureHistory()
        self._unsynced = {
            (resource.plural, namespace)
            for resource in (PODCHECKPOINTS, JOBS, PODS)
            for namespace in settings.namespaces
        }
        self._synced = anyio.Event()
        metrics.depth.labels(name=CONTROLLER).set_function(lambda: self._queue.depth)
        for phase in Phase:
            metrics.checkpoints.labels(phase=phase).set_function(partial(self._cache.count, phase))

    @property
    def ready(self) -> bool:
        """Whether all that was there at the start is known."""
        return self._synced.is_set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with self._context() as (context, tasks):
            for namespace in self._settings.namespaces:
                tasks.start_soon(self._watch_checkpoints, namespace)
                tasks.start_soon(
                    self._watch, JOBS, namespace, self._cache.put_job, self._cache.drop_job
                )
                tasks.start_soon(
                    self._watch,
                    PODS,
                    namespace,
                    self._cache.put_collector_pod,
                    self._cache.drop_collector_pod,
                )
                if self._settings.keiko:
                    tasks.start_soon(KeikoMirror(self._cluster, namespace).run)
            # Acting on half of what is there would make Jobs a second time.
            await self._synced.wait()
            log.info("%d checkpoints are known", len(self._cache))
            observer, effects = Observer(context), ClusterEffects(context)
            for _ in range(self._settings.workers):
                tasks.start_soon(self._work, observer, effects)
            # What rules have captured already is known only now.
            rules = RuleController(
                self._cluster, self._settings, context.events, self._metrics, self._captured
            )
            tasks.start_soon(rules.run)
            tasks.start_soon(take_alerts, self._cluster, self._settings, rules, self._metrics)

    @asynccontextmanager
    async def _context(self) -> AsyncIterator[tuple[OperatorContext, TaskGroup]]:
        timings = self._settings.timings
        async with (
            DestinationClients(timings) as storage,
            event_recorder(
                self._cluster, "forensics.orkaproj.io/operator", self._identity
            ) as events,
            task_group() as tasks,
        ):
            followers = Followers(
                self._cluster, self._queue.add_after, tasks, self._settings.progress_seconds
            )
            yield (
                OperatorContext(
                    cluster=self._cluster,
                    settings=self._settings,
                    storage=storage,
                    cache=self._cache,
                    queue=self._queue,
                    followers=followers,
                    reads=Reads(self._cluster, timings.fresh, timings.retry_read),
                    events=events,
                    metrics=self._metrics,
                    manifests=Manifests(),
                    # Some reconcilers stay free for what cannot wait: that a pod may go.
                    findings=FindingsReader(
                        timings.findings.total_seconds(), max(1, self._settings.workers - 2)
                    ),
                ),
                tasks,
            )

    async def _watch_checkpoints(self, namespace: str) -> None:
        checkpoints = PodCheckpoints(self._cluster, namespace)
        async with checkpoints.watch(remember=slim_checkpoint, known=self._is_old) as events:
            async for event in events:
                if event.checkpoint is None:
                    self._one_synced(PODCHECKPOINTS, namespace)
                    continue
                gone = event.type is EventType.DELETED
                self._captured.learn(event.checkpoint, gone=gone)
                heard = self._cache.drop if gone else self._cache.put
                for key in heard(event.checkpoint):
                    self._queue.add(key)

    def _is_old(self, item: Object) -> bool:
        """Whether an event only repeats what the cluster answered when it was written.

        Whoever wrote it has had the key looked at again. What rules count is learnt here alone.
        """
        labels = item["metadata"].get("labels") or {}
        return RULE_LABEL not in labels and self._cache.knows(item)

    async def _watch(
        self,
        resource: Resource,
        namespace: str,
        put: Callable[[Object], str | None],
        drop: Callable[[Object], str | None],
    ) -> None:
        async with listwatch(
            self._cluster,
            resource,
            namespace=namespace,
            label_selector=SELECTOR,
            remember=slim_child,
        ) as events:
            async for event in events:
                if event.type is EventType.SYNCED:
                    self._one_synced(resource, namespace)
                    continue
                heard = drop if event.type is EventType.DELETED else put
                key = heard(event.object)
                if key is not None:
                    self._queue.add(key)

    def _one_synced(self, resource: Resource, namespace: str) -> None:
        self._unsynced.discard((resource.plural, namespace))
        if not self._unsynced:
            self._synced.set()

    async def _work(self, observer: Observer, effects: ClusterEffects) -> None:
        while True:
            async with self._queue.take() as key:
                await self._reconcile(key, observer, effects)

    async def _reconcile(self, key: str, observer: Observer, effects: ClusterEffects) -> None:
        started, result = time.monotonic(), "success"
        try:
            await reconcile(key, observer, effects)
            self._queue.succeeded(key)
        except (Conflict, NotFound) as error:
            # Somebody was faster, or it is gone: the watch tells, and the next look is on that.
            result = "requeue"
            log.debug("%s: %s", key, error)
            self._retry(key)
        except ForensicsError as error:
            result = "error"
            pause = self._retry(key)
            log.warning("%s: %s Again in %.1f s.", key, error, pause, extra={"checkpoint": key})
            self._report(key, error, effects)
        except Exception:
            result = "error"
            pause = self._retry(key)
            log.exception("%s: unexpected; again in %.1f s", key, pause, extra={"checkpoint": key})
        self._metrics.reconciles.labels(controller=CONTROLLER, result=result).inc()
        self._metrics.reconcile_seconds.labels(controller=CONTROLLER).observe(
            time.monotonic() - started
        )

    def _retry(self, key: str) -> float:
        """Have a key looked at again after a pause, which it returns; nobody waits behind it."""
        pause = self._queue.retry(key)
        checkpoint = self._cache.checkpoint(key)
        for other in self._cache.behind(checkpoint) if checkpoint else ():
            self._queue.add(other)
        return pause

    def _report(self, key: str, error: ForensicsError, effects: ClusterEffects) -> None:
        """Tell those who look at a checkpoint why it does not get on; it is tried again."""
        checkpoint = self._cache.checkpoint(key)
        if checkpoint is not None:
            effects.event(checkpoint, "Retrying", str(error), warning=True)
