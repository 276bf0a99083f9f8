"""Pods that lose their labels are replaced, and those that get them back are taken in again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forensics_loopback import LoopbackCluster

Document = dict[str, Any]
LABELS = {"app": "web"}


def replica_set(**spec: Any) -> Document:
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    }
    given = {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": template, **spec}
    meta = {"name": "web", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": given}


def owned(pods: Any, by: str) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in pods
        if any(one["uid"] == by for one in pod["metadata"].get("ownerReferences") or ())
    ]


async def own_pods(
    cluster: LoopbackCluster, made: Document, met: Callable[[list[str]], object]
) -> list[str]:
    """Wait until the names of its pods meet something, and return them."""
    uid = made["metadata"]["uid"]
    found = await cluster.until("pods", lambda pods: met(owned(pods, uid)), "default")
    return owned(found, uid)


async def test_a_pod_that_loses_its_labels_is_let_go_and_replaced() -> None:
    async with LoopbackCluster() as cluster:
        made = cluster.create(replica_set())
        (first,) = await own_pods(cluster, made, lambda names: len(names) == 1)
        cluster.patch("pods", first, {"metadata": {"labels": {"app": None}}}, "default")
        (second,) = await own_pods(cluster, made, lambda names: names and first not in names)
        assert second.startswith("web-")
        assert not cluster.get("pods", first, "default")["metadata"]["ownerReferences"]


async def test_a_pod_that_gets_its_labels_back_is_taken_in_and_one_too_many_goes() -> None:
    async with LoopbackCluster() as cluster:
        made = cluster.create(replica_set(replicas=2))
        first, _ = await own_pods(cluster, made, lambda names: len(names) == 2)
        cluster.patch("pods", first, {"metadata": {"labels": {"app": None}}}, "default")
        await own_pods(cluster, made, lambda names: len(names) == 2 and first not in names)
        cluster.patch("pods", first, {"metadata": {"labels": LABELS}}, "default")
        uid = made["metadata"]["uid"]
        await cluster.until("pods", lambda pods: len(pods) == len(owned(pods, uid)) == 2, "default")


async def test_pods_of_others_are_nobodys_business() -> None:
    async with LoopbackCluster() as cluster:
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        cluster.seed_pod("elsewhere", namespace="shop", metadata={"labels": LABELS})
        cluster.seed_pod("ended", metadata={"labels": LABELS}, status={"phase": "Succeeded"})
        made = cluster.create(replica_set())
        (own,) = await own_pods(cluster, made, lambda names: len(names) == 1)
        assert own not in {"elsewhere", "ended"}


async def test_one_without_a_template_is_for_show() -> None:
    async with LoopbackCluster() as cluster:
        shown = replica_set()
        del shown["spec"]["template"]
        made = cluster.create(shown)
        cluster.seed_pod("web", metadata={"labels": LABELS})
        cluster.create(
            replica_set(selector={"matchLabels": {"app": "api"}})
            | {"metadata": {"name": "api", "namespace": "default"}}
        )
        found = await cluster.until("pods", lambda pods: len(pods) == 2, "default")
        assert owned(found, made["metadata"]["uid"]) == []
