"""The API without HTTP, as kubelet and controllers of the same process use it."""

from __future__ import annotations

import pytest

from forensics_core.kube.listwatch import EventType
from forensics_core.kube.resources import PODS
from forensics_loopback import ApiError, LoopbackCluster
from forensics_loopback.client.api import ObjectChanged
from forensics_loopback.direct import DirectApi


async def test_an_older_version_replaces_nothing() -> None:
    cluster = LoopbackCluster()
    pod = cluster.seed_pod("web")
    cluster.patch("pods", "web", {"metadata": {"labels": {"a": "b"}}}, "default")
    with pytest.raises(ObjectChanged):
        await DirectApi(cluster.operations).replace(PODS, pod)


async def test_what_is_gone_is_none() -> None:
    cluster = LoopbackCluster()
    api = DirectApi(cluster.operations)
    pod = cluster.seed_pod("web")
    await api.delete(PODS, pod)
    await api.delete(PODS, pod)
    await api.bind(pod, "node1")
    assert await api.replace(PODS, pod) is None
    assert [state async for state in api.follow(PODS, pod)] == []


async def test_refusals_are_raised() -> None:
    cluster = LoopbackCluster()
    api = DirectApi(cluster.operations)
    pod = cluster.seed_pod("web")
    with pytest.raises(ApiError, match="containers"):
        await api.replace(PODS, {**pod, "spec": {}})
    with pytest.raises(ApiError, match="propagationPolicy"):
        await api.delete(PODS, pod, propagationPolicy="None")


async def test_a_watch_goes_on_when_its_history_is_forgotten() -> None:
    cluster = LoopbackCluster()
    cluster.seed_pod("one")
    cluster.seed_pod("elsewhere", "kube-system")
    seen = []
    async with DirectApi(cluster.operations).watch(PODS, "default") as events:
        async for event in events:
            name = event.object.get("metadata", {}).get("name", "")
            seen.append((event.type, name))
            if len(seen) == 2:
                cluster.seed_pod("two")
                cluster.seed_pod("more", "kube-system")
            if len(seen) == 3:
                cluster.delete("pods", "one", "default")
                cluster.expire_history()
                cluster.seed_pod("three")
            if name == "three":
                break
    assert seen == [
        (EventType.ADDED, "one"),
        (EventType.SYNCED, ""),
        (EventType.ADDED, "two"),
        (EventType.DELETED, "one"),
        (EventType.ADDED, "three"),
    ]
