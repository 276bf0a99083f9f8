"""Finding pods and asking for all of them, over the loopback API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from forensics_core.api.crd import crd
from forensics_core.checkpoints import Incident, connect
from forensics_core.errors import Forbidden, Invalid, NotFound, TooManyPods, UsageError
from forensics_core.models import PodRequest, RequestState
from forensics_loopback import Fault, LoopbackCluster, User

NAMESPACE = "forensics-system"
CHECKPOINTS = "podcheckpoints"


@dataclass(frozen=True, slots=True)
class Scene:
    """A cluster with a shop in it, and its incident."""

    cluster: LoopbackCluster
    incident: Incident
    folder: Path

    def asked(self) -> list[str]:
        """Return the pods that checkpoints were made for."""
        found = self.cluster.list(CHECKPOINTS)
        return sorted(f"{one['spec']['namespace']}/{one['spec']['pod']}" for one in found)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    namespaces = ("default", "shop", "mall", NAMESPACE)
    async with LoopbackCluster(
        namespaces=namespaces, nodes=("node1", "node2"), workers=False
    ) as cluster:
        cluster.create(await anyio.to_thread.run_sync(crd))
        async with connect(await cluster.kubeconfig(tmp_path / "kubeconfig")) as connected:
            yield Scene(cluster, connected.incident("INC-7"), tmp_path)


def seed(cluster: LoopbackCluster, name: str, namespace: str = "shop", **more: Any) -> str:
    """Add a pod with the label app=web on `node`, controlled by `owner`; return its UID."""
    metadata: dict[str, Any] = {"labels": {"app": more.get("app", "web")}}
    if "owner" in more:
        metadata["ownerReferences"] = [more["owner"]]
    made = cluster.seed_pod(
        name, namespace, metadata=metadata, spec={"nodeName": more.get("node", "node1")}
    )
    uid: str = made["metadata"]["uid"]
    return uid


def reference(made: dict[str, Any]) -> dict[str, Any]:
    """Return what makes something a dependent of `made`."""
    metadata = made["metadata"]
    return {
        "apiVersion": made["apiVersion"],
        "kind": made["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }


def controller(
    cluster: LoopbackCluster, api: str, kind: str, name: str, owner: Any = None
) -> dict[str, Any]:
    """Add what makes pods to the shop; return the reference to it."""
    metadata: dict[str, Any] = {"name": name, "namespace": "shop"}
    metadata |= {"ownerReferences": [owner]} if owner else {}
    pod = {"containers": [{"name": "app", "image": "app:1"}], "restartPolicy": "Never"}
    spec = {"template": {"spec": pod}} if kind == "Job" else {}
    body = {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}
    return reference(cluster.create(body))


def states(requests: list[PodRequest]) -> dict[str, RequestState]:
    return {str(one.pod): one.state for one in requests}


async def test_each_pod_that_matches_becomes_a_checkpoint_of_the_incident(scene: Scene) -> None:
    uid = seed(scene.cluster, "web-0")
    seed(scene.cluster, "web-1")
    seed(scene.cluster, "db-0", app="db")
    seed(scene.cluster, "web-9", "mall")
    requests = await scene.incident.checkpoint(
        namespace="shop", selector="app=web", to="s3://cases", subpath="", artifacts=["diff"]
    )
    assert states(requests) == {
        "shop/web-0": RequestState.CREATED,
        "shop/web-1": RequestState.CREATED,
    }
    made = requests[0].checkpoint
    assert made is not None and made.metadata.labels == {"forensics.orkaproj.io/incident": "INC-7"}
    assert made.metadata.annotations == {"forensics.orkaproj.io/expected-pod-uid": uid}
    (stored, _) = scene.cluster.list(CHECKPOINTS)
    said = {"pod": "web-0", "namespace": "shop", "destination": "s3://cases", "subpath": ""}
    # What was not said is the cluster's to say.
    assert stored["spec"] | said == stored["spec"]
    assert (stored["spec"]["artifacts"], stored["spec"]["incident"]) == (["diff"], "INC-7")


async def test_a_pod_that_is_captured_or_under_way_is_not_captured_twice_unless_asked(
    scene: Scene,
) -> None:
    seed(scene.cluster, "web-0")
    await scene.incident.checkpoint(namespace="shop", selector="app=web")
    seed(scene.cluster, "web-1")
    second = await scene.incident.checkpoint(namespace="shop", selector="app=web")
    assert states(second) == {
        "shop/web-0": RequestState.EXISTING,
        "shop/web-1": RequestState.CREATED,
    }
    again = await scene.incident.checkpoint(namespace="shop", selector="app=web", again=True)
    assert set(states(again).values()) == {RequestState.CREATED}
    assert scene.asked() == ["shop/web-0", "shop/web-0", "shop/web-1", "shop/web-1"]
    assert len(await scene.incident.checkpoints()) == 4
    assert (await scene.incident.summary()).headline == "0 of 2 pods may be killed"


async def test_a_pod_whose_capture_failed_is_asked_for_again(scene: Scene) -> None:
    seed(scene.cluster, "web-0")
    (first,) = await scene.incident.checkpoint(namespace="shop", every=True)
    assert first.checkpoint is not None
    name = first.checkpoint.metadata.name
    scene.cluster.patch(CHECKPOINTS, name, {"status": {"phase": "Failed"}}, NAMESPACE)
    (second,) = await scene.incident.checkpoint(namespace="shop", every=True)
    assert second.state is RequestState.CREATED


async def test_two_who_ask_at_the_same_moment_make_one_checkpoint(scene: Scene) -> None:
    seed(scene.cluster, "web-0")
    selection = await scene.incident.select(namespace="shop", every=True)
    (made,) = await scene.incident.checkpoint(selection)
    assert made.checkpoint is not None
    # The other one listed before: its answer is as if there were none.
    scene.cluster.faults.add(
        Fault(
            verb="list",
            resource=CHECKPOINTS,
            status=200,
            body='{"metadata": {"resourceVersion": "1"}, "items": []}',
        )
    )
    (other,) = await scene.incident.checkpoint(selection)
    assert other.state is RequestState.EXISTING and other.checkpoint == made.checkpoint
    assert scene.asked() == ["shop/web-0"]


async def test_a_name_that_somebody_else_took_is_passed_by(scene: Scene) -> None:
    seed(scene.cluster, "web-0")
    selection = await scene.incident.select(namespace="shop", every=True)
    (made,) = await scene.incident.checkpoint(selection)
    assert made.checkpoint is not None
    name = made.checkpoint.metadata.name
    # It is of another incident now, so that it is no longer listed with this one.
    change = {"metadata": {"labels": {"forensics.orkaproj.io/incident": "INC-1"}}}
    scene.cluster.patch(CHECKPOINTS, name, change | {"spec": {"incident": "INC-1"}}, NAMESPACE)
    (other,) = await scene.incident.checkpoint(selection)
    assert other.state is RequestState.CREATED
    assert len(scene.asked()) == 2


async def test_a_name_that_is_free_again_by_the_time_one_looks_is_no_hindrance(
    scene: Scene,
) -> None:
    seed(scene.cluster, "web-0")
    taken = {"kind": "Status", "status": "Failure", "reason": "AlreadyExists", "code": 409}
    scene.cluster.faults.add(
        Fault(verb="create", resource=CHECKPOINTS, status=409, body=json.dumps(taken))
    )
    (one,) = await scene.incident.checkpoint(namespace="shop", every=True)
    assert one.state is RequestState.CREATED and scene.asked() == ["shop/web-0"]


async def test_what_is_refused_of_one_pod_keeps_nobody_from_asking_for_the_others(
    scene: Scene,
) -> None:
    for name in ("web-0", "web-1", "web-2"):
        seed(scene.cluster, name)
    scene.cluster.faults.add(Fault(verb="create", resource=CHECKPOINTS, status=403))
    requests = await scene.incident.checkpoint(namespace="shop", every=True)
    refused = [one for one in requests if one.state is RequestState.REFUSED]
    assert len(refused) == 1 and isinstance(refused[0].error, Forbidden)
    assert len(scene.asked()) == 2
    # Whoever asks again asks for what is missing.
    again = await scene.incident.checkpoint(namespace="shop", every=True)
    assert sorted(one.state for one in again) == ["Created", "Existing", "Existing"]


async def test_an_answer_that_is_lost_makes_no_second_checkpoint(scene: Scene) -> None:
    seed(scene.cluster, "web-0")
    scene.cluster.faults.add(Fault(verb="create", resource=CHECKPOINTS, status=500, executed=True))
    (one,) = await scene.incident.checkpoint(namespace="shop", every=True)
    assert one.state is RequestState.EXISTING
    assert scene.asked() == ["shop/web-0"]


async def test_while_the_api_server_is_away_the_rest_is_not_tried(scene: Scene) -> None:
    for number in range(20):
        seed(scene.cluster, f"web-{number}")
    scene.cluster.faults.add(Fault(verb="create", resource=CHECKPOINTS, status=500, times=1000))
    requests = await scene.incident.checkpoint(namespace="shop", every=True)
    assert len(requests) == 20
    assert {one.state for one in requests} == {RequestState.REFUSED}
    # Those under way at that moment, three times each.
    assert scene.cluster.records.counts()[f"create {CHECKPOINTS}"] <= 24
    assert scene.asked() == []


async def test_pods_are_found_by_their_owner_through_what_it_makes(scene: Scene) -> None:
    cluster = scene.cluster
    web = controller(cluster, "apps/v1", "Deployment", "web")
    new = controller(cluster, "apps/v1", "ReplicaSet", "web-6d", web)
    old = controller(cluster, "apps/v1", "ReplicaSet", "web-5c", web)
    alone = controller(cluster, "apps/v1", "ReplicaSet", "lonely")
    nightly = controller(cluster, "batch/v1", "CronJob", "nightly")
    job = controller(cluster, "batch/v1", "Job", "nightly-1", nightly)
    # As of a kind that others define: what it makes is looked for in all that makes pods.
    canary = controller(cluster, "v1", "Service", "canary")
    rollout = controller(cluster, "apps/v1", "ReplicaSet", "canary-1", canary)
    for name, owner in {
        "new": new,
        "old": old,
        "lonely": alone,
        "backup": job,
        "canary": rollout,
    }.items():
        seed(cluster, name, owner=owner)
    seed(cluster, "nobody")

    async def found(owner: str) -> list[str]:
        selection = await scene.incident.select(namespace="shop", owner=owner)
        return [pod.name for pod in selection.pods]

    assert await found("deployment/web") == ["new", "old"]
    assert await found("rs/lonely") == ["lonely"]
    assert await found("cronjob/nightly") == ["backup"]
    assert await found("job/nightly-1") == ["backup"]
    assert await found("service/canary") == ["canary"]
    assert await found("statefulset/web") == []


async def test_pods_are_found_by_node_and_image_in_all_namespaces(scene: Scene) -> None:
    cluster = scene.cluster
    seed(cluster, "web-0", node="node2")
    seed(cluster, "web-1", "mall", node="node2")
    seed(cluster, "web-2")
    digest = cluster.get("pods", "web-0", "shop")["status"]["containerStatuses"][0]["imageID"]
    cluster.patch(
        "pods", "web-1", {"status": {"containerStatuses": [{"name": "app", "image": "x"}]}}, "mall"
    )
    on_node = await scene.incident.select(namespace="*", node="node2")
    assert [str(pod) for pod in on_node.pods] == ["mall/web-1", "shop/web-0"]
    of_image = await scene.incident.select(namespace="*", node="node2", image=digest)
    assert [str(pod) for pod in of_image.pods] == ["shop/web-0"]
    # Without a namespace it is the kubeconfig's.
    assert (await scene.incident.select(node="node2")).total == 0


async def test_collectors_are_no_pods_of_an_incident(scene: Scene) -> None:
    label = {"labels": {"forensics.orkaproj.io/checkpoint-uid": "u"}}
    scene.cluster.seed_pod("collector", NAMESPACE, metadata=label)
    # An intruder's pod that takes the label is captured all the same.
    scene.cluster.seed_pod("sly", "shop", metadata=label)
    found = await scene.incident.select(namespace="*", every=True)
    assert [str(pod) for pod in found.pods] == ["shop/sly"]


async def test_more_than_the_limit_are_counted_page_by_page_and_none_is_captured(
    scene: Scene,
) -> None:
    for number in range(250):
        seed(scene.cluster, f"web-{number:03}")
    found = await scene.incident.select(namespace="shop", every=True)
    assert (found.total, len(found.pods)) == (250, 200)
    with pytest.raises(TooManyPods, match="250 pods match"):
        await scene.incident.checkpoint(namespace="shop", selector="app=web")
    with pytest.raises(TooManyPods, match="limit of 10"):
        await scene.incident.checkpoint(namespace="shop", selector="app=web", limit=10)
    assert scene.asked() == []


async def test_what_cannot_be_asked_for_is_said_before_anything_is_made(scene: Scene) -> None:
    seed(scene.cluster, "web-0")
    with pytest.raises(NotFound, match="No pod matches"):
        await scene.incident.checkpoint(namespace="shop", selector="app=none")
    with pytest.raises(UsageError, match="Nothing says which"):
        await scene.incident.checkpoint(namespace="shop")
    with pytest.raises(UsageError, match="to: "):
        await scene.incident.checkpoint(namespace="shop", every=True, to="http://x")
    with pytest.raises(Invalid):
        await scene.incident.checkpoint(namespace="shop", selector="app in (")
    assert scene.asked() == []


@pytest.mark.parametrize("incident", ["", "not a label", "x" * 64])
async def test_an_incident_has_an_id_that_fits_a_label(scene: Scene, incident: str) -> None:
    async with connect(scene.folder / "kubeconfig") as cluster:
        with pytest.raises(UsageError, match="incident: "):
            cluster.incident(incident)


async def test_only_the_callers_own_rights_are_needed_to_list_pods(scene: Scene) -> None:
    scene.cluster.enforce_rbac()
    seed(scene.cluster, "web-0")
    path = await scene.cluster.kubeconfig(scene.folder / "other", user=User("eve"))
    async with connect(path) as cluster:
        with pytest.raises(Forbidden, match="pods"):
            await cluster.incident("INC-7").select(namespace="shop", every=True)
