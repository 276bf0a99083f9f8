"""Following many workers at once, without standing in the way of anything else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from forensics_core.kube.connection import ClusterConnection, connect
from forensics_core.operator.attempt.monitor import FOLLOWED, Followers
from forensics_core.operator.shared.queue import WorkQueue
from tests.integration.kube.scripted import ScriptedApi, answer, scripted_api, stream
from tests.unit.operator.samples import Document, collector_pod

LINE = b'2026-08-01T10:11:12Z {"event":"progress","artifactsDone":1}\n'


class Workers:
    """The logs of many workers, each open until its worker ends."""

    def __init__(self, api: ScriptedApi, count: int) -> None:
        self.api = api
        self.pods = [_worker(number) for number in range(count)]
        self.open = self.most = 0
        self.full = anyio.Event()
        for pod in self.pods:
            path = f"/api/v1/namespaces/forensics-system/pods/{pod['metadata']['name']}"
            api.on("GET", path, answer(pod))
            api.on("GET", f"{path}/log", self._log)

    async def _log(self, api: ScriptedApi, request: web.Request) -> web.StreamResponse:
        self.open += 1
        self.most = max(self.most, self.open)
        if self.open == FOLLOWED:
            self.full.set()
        try:
            return await stream(LINE, then="hang")(api, request)
        finally:
            self.open -= 1


def _worker(number: int) -> Document:
    pod = collector_pod({"running": {"startedAt": "2026-08-01T10:11:12Z"}})
    pod["metadata"] |= {"name": f"worker-{number}", "uid": f"uid-{number}"}
    return pod


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    async with scripted_api() as server:
        yield server


@pytest.fixture
async def cluster(api: ScriptedApi, tmp_path: Path) -> AsyncIterator[ClusterConnection]:
    async with connect(api.kubeconfig(tmp_path / "config", {"token": "secret"})) as connection:
        yield connection


async def test_only_so_many_are_followed_at_once_and_the_others_come_after(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    workers = Workers(api, FOLLOWED + 40)
    async with anyio.create_task_group() as tasks:
        followers = Followers(cluster, WorkQueue().add_after, tasks, 0.01)
        for number, pod in enumerate(workers.pods):
            followers.follow(f"forensics-system/checkpoint-{number}", pod)
        with anyio.fail_after(20):
            await workers.full.wait()
            for pod in workers.pods:
                await _heard(followers, pod)
                followers.forget(pod)
        tasks.cancel_scope.cancel()
    assert workers.most == FOLLOWED


async def test_what_a_collector_says_of_its_end_is_news_once(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    time, said = b"2026-08-01T10:11:12Z ", b'{"event":"ended","reason":"Captured"}\n'
    other = b'{"event":"ended"}\n'
    pod, last = _worker(0), LINE.replace(b"1}", b"2}")
    path = f"/api/v1/namespaces/forensics-system/pods/{pod['metadata']['name']}"
    api.on("GET", path, answer(pod))
    lines = [time + other, LINE, time + said, time + said, last]
    api.on("GET", f"{path}/log", stream(*lines, then="hang"))
    woken: list[tuple[str, float]] = []
    every = anyio.Event()

    def wake(key: str, seconds: float) -> None:
        woken.append((key, seconds))
        if len(woken) == 3:
            every.set()

    async with anyio.create_task_group() as tasks:
        followers = Followers(cluster, wake, tasks, 5)
        assert not followers.said_end(pod)
        followers.follow("forensics-system/x", pod)
        with anyio.fail_after(20):
            await every.wait()
        assert [followers.said_end(pod), followers.said_end(pod)] == [True, False]
        tasks.cancel_scope.cancel()
    key = "forensics-system/x"
    assert woken == [(key, 5), (key, 0), (key, 5)]


async def _heard(followers: Followers, pod: Document) -> None:
    # A follower has no event that one could wait for: in the operator it wakes a key.
    while followers.latest("forensics-system/checkpoint", pod) is None:  # noqa: ASYNC110
        await anyio.sleep(0.005)
