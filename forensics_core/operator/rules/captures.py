"""Asking for the captures that rules want: a queue, and a few that work through it.

A capture's name follows from pod and happening, so whoever asks a second time, after a crash or as
the next leader, finds it made.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core.api.names import (
    ALERT_ANNOTATION,
    EVENT_LABEL,
    EXPECTED_POD_UID_ANNOTATION,
    FINALIZER,
    REQUESTED_BY_ANNOTATION,
    RULE_LABEL,
    TRIGGER_KEY_ANNOTATION,
)
from forensics_core.api.podcheckpoint import AfterCapture
from forensics_core.errors import AlreadyExists, ApiUnavailable, ClusterError
from forensics_core.kube.access import own_name
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Objects
from forensics_core.kube.podcheckpoints import PodCheckpoints
from forensics_core.kube.resources import PODCHECKPOINTS
from forensics_core.operator.rules.outcomes import Trigger

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds before a capture is asked for again while the API server is away."""


class CaptureRequests:
    """Makes the PodCheckpoints of triggers; `made` and `refused` hear what came of each.

    What waits is bounded by the rules' limits: a trigger counts from the moment when it is decided.
    """

    def __init__(
        self,
        cluster: ClusterConnection,
        made: Callable[[Trigger], None],
        refused: Callable[[Trigger, str], None],
    ) -> None:
        self._cluster = cluster
        self._made = made
        self._refused = refused
        self._send, self._receive = anyio.create_memory_object_stream[Trigger](math.inf)
        self._me: str | None = None

    def add(self, trigger: Trigger) -> None:
        """Have a capture asked for."""
        self._send.send_nowait(trigger)

    async def work(self) -> None:
        """Ask for one capture after the other until cancelled; several may do that at once."""
        if self._me is None:
            self._me = await own_name(self._cluster)
        with self._receive.clone() as waiting:
            async for trigger in waiting:
                await self._ask(trigger)

    def close(self) -> None:
        """End the queue."""
        self._send.close()
        self._receive.close()

    async def _ask(self, trigger: Trigger) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                if await self._create(trigger):
                    return self._made(trigger)
                return self._refused(trigger, f"The name '{trigger.name}' is somebody else's")
            except ApiUnavailable as error:
                log.warning("The capture %s is asked for again after: %s", trigger.name, error)
                await anyio.sleep(backoff.next(error.retry_after))
            except ClusterError as error:
                return self._refused(trigger, str(error))

    async def _create(self, trigger: Trigger) -> bool:
        """Create the capture; return whether it is there and a rule's."""
        try:
            await self._request(trigger)
        except AlreadyExists:
            # Made before a crash, or by the leader before this one: or by who foresaw the name.
            # Only a rule's has the label: admission keeps it from all others.
            found = await Objects(self._cluster, PODCHECKPOINTS).list(
                trigger.rule.rule.metadata.namespace,
                label_selector=RULE_LABEL,
                field_selector=f"metadata.name={trigger.name}",
            )
            return bool(found.items)
        return True

    async def _request(self, trigger: Trigger) -> None:
        rule = trigger.rule.rule
        annotations = {
            EXPECTED_POD_UID_ANNOTATION: trigger.pod.uid,
            TRIGGER_KEY_ANNOTATION: trigger.key,
        }
        if self._me:
            annotations[REQUESTED_BY_ANNOTATION] = self._me
        if trigger.alert is not None:
            annotations[ALERT_ANNOTATION] = trigger.alert.document
        spec = rule.spec.checkpoint(trigger.pod.name, trigger.pod.namespace, reason=trigger.reason)
        if trigger.spares:
            spared = {"isolate": False, "after_capture": AfterCapture.KEEP}
            spec = spec.model_copy(update=spared)
        await PodCheckpoints(self._cluster, rule.metadata.namespace).create(
            spec,
            name=trigger.name,
            labels={RULE_LABEL: rule.metadata.name, EVENT_LABEL: str(trigger.happening.event)},
            annotations=annotations,
            # The reconciler would put it on first: a write that the pod need not wait for.
            finalizers=[FINALIZER],
        )
