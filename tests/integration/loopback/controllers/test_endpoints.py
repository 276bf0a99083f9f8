"""A Service sends traffic to the running pods that it selects, and to no others."""

from __future__ import annotations

from typing import Any

from forensics_loopback import LoopbackCluster

Document = dict[str, Any]


def service(**spec: Any) -> Document:
    meta = {"name": "web", "namespace": "default"}
    given = {"ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": given}


def served(slices: Any) -> list[str]:
    return [each["targetRef"]["name"] for one in slices for each in one["endpoints"]]


async def until(cluster: LoopbackCluster, *names: str) -> None:
    def met(slices: Any) -> bool:
        return bool(slices) and served(slices) == list(names)

    await cluster.until("endpointslices", met, "default")


async def test_endpoints_follow_the_labels_of_pods() -> None:
    async with LoopbackCluster() as cluster:
        cluster.seed_pod("one", metadata={"labels": {"app": "web"}})
        cluster.seed_pod("other", metadata={"labels": {"app": "api"}})
        cluster.seed_pod("new", metadata={"labels": {"app": "web"}}, status={"phase": "Pending"})
        cluster.create(service(selector={"app": "web"}))
        await until(cluster, "one")
        cluster.patch("pods", "one", {"metadata": {"labels": {"app": None}}}, "default")
        await until(cluster)
        cluster.patch("pods", "one", {"metadata": {"labels": {"app": "web"}}}, "default")
        await until(cluster, "one")
        cluster.delete("services", "web", "default")
        await cluster.until("endpointslices", lambda slices: not slices, "default")


async def test_a_service_without_a_selector_is_somebody_elses() -> None:
    async with LoopbackCluster() as cluster:
        cluster.create(service())
        other = service(selector={"app": "web"})
        other["metadata"]["name"] = "other"
        cluster.create(other)
        found = await cluster.until("endpointslices", lambda slices: slices, "default")
        labels = [one["metadata"]["labels"]["kubernetes.io/service-name"] for one in found]
        assert labels == ["other"]
