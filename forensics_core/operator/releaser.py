"""`forensics-hold-releaser`: frees held pods when their time is over, whoever else is dead.

It knows nothing but the pods that bear the label, so it works without rules, kinds or operator.
It keeps nothing, and as many replicas as wanted may run at once: whoever comes second finds the
pod free.
"""

from __future__ import annotations

import logging
import math
import time
from functools import partial

import anyio
import click

from forensics_core._internal.allocator import use_one_arena
from forensics_core._internal.tasks import task_group
from forensics_core.api.names import HOLD_LABEL
from forensics_core.errors import ClusterError, NotFound
from forensics_core.kube.connection import ClusterConnection, connect
from forensics_core.kube.holds import free_pod, held_until
from forensics_core.kube.listwatch import EventType, WatchEvent, listwatch
from forensics_core.kube.objects import Object
from forensics_core.kube.resources import PODS
from forensics_core.service.health import health_server
from forensics_core.service.logs import log_as_json
from forensics_core.service.program import exit_on_error, run_until_stopped

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Seconds after which a pod that could not be freed, or a watch that was refused, comes again."""
AT_ONCE = 8
"""Pods that are freed at once."""

Key = tuple[str, str]
"""A pod's namespace and name."""


class Releaser:
    """Frees pods; `again` is in seconds."""

    def __init__(self, cluster: ClusterConnection, *, again: float = RETRY_SECONDS) -> None:
        self._cluster = cluster
        self._again = again
        self._due: dict[Key, tuple[float, str]] = {}
        self._news = anyio.Event()
        self.ready = False
        """Whether it is known which pods are held."""

    async def run(self) -> None:
        """Work until cancelled."""
        async with task_group() as tasks:
            tasks.start_soon(self._watch)
            while True:
                self._news = anyio.Event()
                nearest = min((at for at, _ in self._due.values()), default=math.inf)
                with anyio.move_on_after(max(0.0, nearest - time.time())):
                    await self._news.wait()
                await self._free_all()

    async def _watch(self) -> None:
        while True:
            try:
                async with listwatch(
                    self._cluster, PODS, label_selector=HOLD_LABEL, remember=_slim
                ) as events:
                    async for event in events:
                        self._on_event(event)
            except ClusterError as error:
                log.error("Held pods cannot be watched: %s", error)
            self.ready = False
            await anyio.sleep(self._again)

    def _on_event(self, event: WatchEvent) -> None:
        if event.type is EventType.SYNCED:
            self.ready = True
            return
        metadata = event.object["metadata"]
        key = metadata["namespace"], metadata["name"]
        until = None if event.type is EventType.DELETED else held_until(metadata)
        if until is None:
            self._due.pop(key, None)
        else:
            self._due[key] = until, metadata["uid"]
            self._news.set()

    async def _free_all(self) -> None:
        """Free what is due, a few at a time: the next ones are due by then."""
        now = time.time()
        due = [(key, uid) for key, (at, uid) in self._due.items() if at <= now]
        async with task_group() as tasks:
            for key, uid in due[:AT_ONCE]:
                tasks.start_soon(self._free, key, uid)

    async def _free(self, key: Key, uid: str) -> None:
        # Whatever comes of it, it is looked at again unless the watch says that it is free.
        self._due[key] = time.time() + self._again, uid
        try:
            await free_pod(self._cluster, *key, uid)
            log.info("%s/%s is free: its time is over", *key)
        except NotFound:
            self._due.pop(key, None)
        except ClusterError as error:
            log.warning("%s/%s is still held: %s", *key, error)


def _slim(pod: Object) -> Object:
    kept = ("name", "namespace", "uid", "resourceVersion")
    return {"metadata": {key: pod["metadata"][key] for key in kept}}


async def release(kubeconfig: str | None, health_port: int) -> None:
    """Run one replica until cancelled."""
    async with connect(kubeconfig) as cluster:
        releaser = Releaser(cluster)

        async def ready() -> bool:
            return releaser.ready

        async with health_server(health_port, ready=ready):
            await releaser.run()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kubeconfig", envvar="KUBECONFIG", help="Default: the pod's own account.")
@click.option("--health-port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    envvar="FORENSICS_LOG_LEVEL",
    show_default=True,
)
def main(kubeconfig: str | None, health_port: int, log_level: str) -> None:
    """Free pods that a rule holds, once their time is over."""
    use_one_arena()
    log_as_json(log_level)
    with exit_on_error():
        run_until_stopped(partial(release, kubeconfig, health_port))
