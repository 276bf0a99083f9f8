"""Trouble on purpose, as a client meets it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anyio
import pytest

from forensics_loopback import WRITES, Fault, LoopbackCluster
from forensics_loopback.storage.store import StoredChange

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"


async def statuses(http: aiohttp.ClientSession, path: str, times: int) -> list[int]:
    found = []
    for _ in range(times):
        async with http.get(path) as response:
            found.append(response.status)
    return found


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


async def test_the_next_requests_fail(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.faults.add(Fault("list", "pods", times=2, skip=1, headers={"Retry-After": "7"}))
    assert await statuses(http, MAPS, 1) == [200]
    assert await statuses(http, PODS, 4) == [200, 503, 503, 200]


async def test_waits_until_a_fault_is_spent(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    fault = cluster.faults.add(Fault("list", "pods", times=2))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cluster.faults.until_spent, fault)
            assert await statuses(http, PODS, 1) == [503]
            assert cluster.faults.waiting == 1
            assert await statuses(http, PODS, 1) == [503]
        await cluster.faults.until_spent(fault)
    assert cluster.faults.waiting == 0


async def test_a_fault_answers_with_a_status_or_any_body(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.faults.add(Fault(status=429, headers={"Retry-After": "7"}))
    cluster.faults.add(Fault(status=401, body=""))
    async with http.get(PODS) as response:
        assert (await response.json())["reason"] == "TooManyRequests"
        assert response.headers["Retry-After"] == "7"
    async with http.get(PODS) as response:
        assert (response.status, await response.read()) == (401, b"")


async def test_a_request_whose_connection_is_cut_is_not_carried_out(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.faults.add(Fault(WRITES, reset=True))
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post(MAPS, json=config_map("one"))
    assert cluster.list("configmaps") == []


async def test_a_request_whose_answer_is_lost_is_carried_out(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.faults.add(Fault(WRITES, "configmaps", reset=True, executed=True))
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post(MAPS, json=config_map("one"))
    assert len(cluster.list("configmaps")) == 1
    async with http.post(MAPS, json=config_map("two")) as response:
        assert response.status == 201


async def test_faults_can_be_taken_back(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.faults.add(Fault(times=100))
    cluster.faults.clear()
    assert await statuses(http, PODS, 1) == [200]


async def test_stale_reads_show_the_past(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.seed_pod("old")
    with cluster.faults.stale_reads("pods"):
        cluster.seed_pod("new")
        cluster.delete("pods", "old", "default")
        async with http.get(PODS) as response:
            assert [p["metadata"]["name"] for p in (await response.json())["items"]] == ["old"]
        assert await statuses(http, PODS + "/old", 1) == [200]
        assert await statuses(http, PODS + "/new", 1) == [404]
    assert await statuses(http, PODS + "/new", 1) == [200]


async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        yield json.loads(line)


async def names(http: aiohttp.ClientSession, count: int) -> list[tuple[str, str]]:
    """The first events of a watch."""
    found = []
    async with http.get(PODS, params={"watch": "true"}) as response:
        async for event in lines(response):
            found.append((event["type"], event["object"]["metadata"]["name"]))
            if len(found) == count:
                break
    return found


async def test_a_watch_leaves_out_the_events_it_was_told_to_skip(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.faults.skipped_events["pods"] = 1
    async with http.get(PODS, params={"watch": "true"}) as response:
        cluster.seed_pod("one")
        cluster.seed_pod("two")
        event = await anext(lines(response))
    assert event["object"]["metadata"]["name"] == "two"


async def test_idle_streams_say_nothing(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.faults.idle = True
    query = {"watch": "true", "timeoutSeconds": "1", "allowWatchBookmarks": "true"}
    async with http.get(PODS, params=query) as response:
        cluster.seed_pod("one")
        assert await response.read() == b""


async def test_a_watch_from_before_the_expiry_is_answered_410(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    pod = cluster.seed_pod("one")
    version = pod["metadata"]["resourceVersion"]
    cluster.seed_pod("two")
    cluster.expire_history()
    query = {"watch": "true", "resourceVersion": version}
    async with http.get(PODS, params=query) as response:
        event = await anext(lines(response))
    assert (response.status, event["type"], event["object"]["code"]) == (200, "ERROR", 410)


async def test_history_that_expires_under_a_watch(definition: dict[str, Any]) -> None:
    async with (
        LoopbackCluster(history=2) as cluster,
        aiohttp.ClientSession(cluster.url) as http,
        http.get(PODS, params={"watch": "true"}) as response,
    ):
        # All in one turn of the loop: the watch cannot keep up.
        for number in range(9):
            cluster.seed_pod(f"pod-{number}")
        event = await anext(lines(response))
        assert (event["type"], event["object"]["reason"]) == ("ERROR", "Expired")


async def test_broken_streams_end_all_watches(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    async with http.get(PODS, params={"watch": "true"}) as response:
        cluster.break_streams()
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await response.read()
    cluster.seed_pod("one")
    assert await names(http, 1) == [("ADDED", "one")]


async def test_the_api_goes_away_and_comes_back(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    url = cluster.url
    async with cluster.away():
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(PODS)
        cluster.seed_pod("meanwhile")
    assert cluster.url == url
    assert await statuses(http, PODS + "/meanwhile", 1) == [200]


async def test_requests_are_counted(cluster: LoopbackCluster, http: aiohttp.ClientSession) -> None:
    await statuses(http, PODS, 2)
    await statuses(http, PODS + "/none", 1)
    await http.post(MAPS, json=config_map("one"))
    cluster.seed_pod("one")
    await names(http, 1)
    counts = cluster.records.counts()
    assert counts == {"create configmaps": 1, "get pods": 1, "list pods": 2, "watch pods": 1}
    assert (cluster.records.reads, cluster.records.writes, cluster.records.watches) == (3, 1, 1)
    assert [r.status for r in cluster.records.requests] == [200, 200, 404, 201, 200]
    assert cluster.records.requests[0].user == "system:anonymous"
    cluster.records.clear()
    assert cluster.records.counts() == {}


async def test_the_cluster_raises_what_a_controller_fails_with() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with LoopbackCluster() as cluster:
            cluster.store.listeners.append(_explode)
            pod = {"restartPolicy": "Never", "containers": [{"name": "c"}]}
            spec = {"template": {"spec": pod}}
            meta = {"name": "j"}
            cluster.create(
                {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}
            )
            await anyio.wait_all_tasks_blocked()
    assert caught.group_contains(RuntimeError)


def _explode(change: StoredChange) -> None:
    if change.key == "pods":
        raise RuntimeError("a listener broke")
