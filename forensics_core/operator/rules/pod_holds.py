"""Holding pods: what `hold` decides is carried out, as pods, rules and captures change.

Who is looked at is decided again at the moment of the request, on what is known by then. What
fails is tried again; whatever fails for good, the releaser frees pods by their label.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import anyio

from forensics_core._internal.tasks import task_group
from forensics_core.api.capturerule import CaptureRuleSpec
from forensics_core.api.names import HOLD_LABEL
from forensics_core.errors import ApiUnavailable, ClusterError, Conflict, Forbidden, NotFound
from forensics_core.kube.access import AccessRequest, allowed_to_me
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.holds import free_pod, hold_pod
from forensics_core.kube.objects import Objects
from forensics_core.kube.resources import CAPTURE_RULES, PODS
from forensics_core.operator.rules.facts import PodFacts
from forensics_core.operator.rules.hold import Free, Hold, holds, over_at

log = logging.getLogger(__name__)

HOLDERS = 4
"""Pods that are held or freed at once."""
RETRY_SECONDS = 1.0
"""Seconds after which what the API server did not do is asked for again."""
NEEDED = (AccessRequest("patch", PODS), AccessRequest("hold", CAPTURE_RULES))
"""The second is a right to nothing: the overlay grants it, so with it the releaser is there."""

Key = tuple[str, str]
"""A pod's namespace and name."""


class PodHolds:
    """Holds pods and lets them go; `pods` is what is known of each, kept up to date by others.

    What was refused is asked for again after `pause` seconds.
    """

    def __init__(
        self,
        cluster: ClusterConnection,
        pods: Mapping[Key, PodFacts],
        specs: Callable[[], Sequence[CaptureRuleSpec]],
        awaited: Callable[[str], bool],
        pause: float,
    ) -> None:
        self._pause = pause
        self._cluster = cluster
        self._pods = pods
        self._specs = specs
        self._awaited = awaited
        self._allowed = False
        self._refused = anyio.Event()
        self._keys: dict[str, Key] = {}
        self._later: dict[Key, float] = {}
        self._waiting: set[Key] = set()
        self._timer = anyio.Event()
        self._send, self._receive = anyio.create_memory_object_stream[Key](math.inf)

    @property
    def some(self) -> bool:
        """Whether any pod is held."""
        return bool(self._keys)

    def look(self, pods: Iterable[PodFacts]) -> None:
        """Have pods looked at that have changed, or whose rules have."""
        for pod in pods:
            if pod.held or HOLD_LABEL in pod.labels:
                self._keys[pod.uid] = pod.key
            else:
                self._keys.pop(pod.uid, None)
            if self._steps(pod):
                self._add(pod.key)
            elif (end := over_at(pod)) is not None:
                self._add_later(pod.key, end)

    def heard(self, uid: str) -> None:
        """Have the pod looked at of whose capture there is news."""
        pod = self._pods.get(self._keys.get(uid, ("", "")))
        if pod is not None and pod.deleting_at is not None:
            self.look([pod])

    def gone(self, pod: PodFacts) -> None:
        """Forget a pod that is not there any more."""
        self._keys.pop(pod.uid, None)
        self._later.pop(pod.key, None)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with task_group() as tasks:
                tasks.start_soon(self._run_timer)
                for _ in range(HOLDERS):
                    tasks.start_soon(self._work)
        finally:
            self._send.close()
            self._receive.close()

    def forget(self) -> None:
        """Forget all pods: nobody tells of them any more."""
        self._keys.clear()
        self._later.clear()

    async def missing(self) -> str:
        """Ask what is missing to hold pods; empty: nothing. It is then acted on."""
        why = await self._missing()
        if not why and not self._allowed:
            self._allowed, self._refused = True, anyio.Event()
            self.look(list(self._pods.values()))
        return why

    async def refused(self) -> None:
        """Wait until the API server refuses what it had granted."""
        await self._refused.wait()

    async def _missing(self) -> str:
        try:
            for action in NEEDED:
                if not (await allowed_to_me(self._cluster, action)).allowed:
                    return f"It may not {action.verb} {action.resource.plural}"
        except ClusterError as error:
            return str(error)
        return ""

    async def left_behind(self) -> bool:
        """Return whether there are pods that were held for rules which are gone by now."""
        try:
            # Without the overlay nothing was ever held: a plain installation is refused nothing.
            if not (await allowed_to_me(self._cluster, AccessRequest("list", PODS))).allowed:
                return False
            return bool((await Objects(self._cluster, PODS).list(label_selector=HOLD_LABEL)).items)
        except ClusterError as error:
            log.info("It is not known whether pods are held: %s", error)
            return False

    def _steps(self, pod: PodFacts) -> list[Hold | Free]:
        found = holds([pod], self._specs(), self._awaited, time.time())
        return [step for step in found if self._allowed or isinstance(step, Free)]

    def _add(self, key: Key) -> None:
        self._later.pop(key, None)
        if key not in self._waiting:
            self._waiting.add(key)
            self._send.send_nowait(key)

    def _add_later(self, key: Key, at: float) -> None:
        self._later[key] = at
        self._timer.set()

    async def _run_timer(self) -> None:
        while True:
            self._timer = anyio.Event()
            pause = min(self._later.values(), default=math.inf) - time.time()
            with anyio.move_on_after(max(0.0, pause)):
                await self._timer.wait()
            now = time.time()
            for key in [key for key, at in self._later.items() if at <= now]:
                self._add(key)

    async def _work(self) -> None:
        with self._receive.clone() as waiting:
            async for key in waiting:
                self._waiting.discard(key)
                pod = self._pods.get(key)
                for step in self._steps(pod) if pod is not None else ():
                    await self._take(step)

    async def _take(self, step: Hold | Free) -> None:
        pod = step.pod
        try:
            if isinstance(step, Hold):
                await hold_pod(self._cluster, pod.namespace, pod.name, pod.uid, step.seconds)
            else:
                await free_pod(self._cluster, pod.namespace, pod.name, pod.uid)
        except NotFound:
            log.debug("%s/%s is gone", pod.namespace, pod.name)
        except ClusterError as error:
            log.warning("The hold on %s/%s: %s", pod.namespace, pod.name, error)
            self._after(step, error)

    def _after(self, step: Hold | Free, error: ClusterError) -> None:
        """Try again, but not to hold what cannot be: a pod that is being deleted by now."""
        if isinstance(error, (ApiUnavailable, Conflict)):
            # Another pod by now, or one that changes too fast: what is known then decides.
            pause = getattr(error, "retry_after", None) or RETRY_SECONDS
            self._add_later(step.pod.key, time.time() + pause)
        elif isinstance(step, Free):
            self._add_later(step.pod.key, time.time() + self._pause)
        elif isinstance(error, Forbidden):
            self._allowed = False
            self._refused.set()
