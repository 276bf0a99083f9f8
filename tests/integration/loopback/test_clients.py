"""kubernetes_asyncio's typed calls against a loopback cluster."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio import client, config, watch

from forensics_loopback import ContainerExit, LoopbackCluster, RunningPod


@pytest.fixture
async def cluster() -> AsyncIterator[LoopbackCluster]:
    async def runner(pod: RunningPod) -> ContainerExit:
        pod.log.write(b"hello\n")
        return ContainerExit(message="done")

    async with LoopbackCluster(runner=runner) as cluster:
        yield cluster


@pytest.fixture
async def api(cluster: LoopbackCluster, tmp_path: Path) -> AsyncIterator[Any]:
    path = await cluster.kubeconfig(tmp_path / "kubeconfig")
    settings = client.Configuration()
    await config.load_kube_config(config_file=str(path), client_configuration=settings)
    async with client.ApiClient(settings) as api:
        yield api


async def test_a_job_from_creation_to_its_log(api: Any) -> None:
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    container = client.V1Container(name="c", image="x")
    inner = client.V1PodSpec(restart_policy="Never", containers=[container])
    spec = client.V1JobSpec(template=client.V1PodTemplateSpec(spec=inner), backoff_limit=0)
    body = client.V1Job(metadata=client.V1ObjectMeta(name="work"), spec=spec)
    created = await batch.create_namespaced_job("default", body)
    assert created.spec.selector.match_labels["batch.kubernetes.io/controller-uid"]
    async with watch.Watch() as stream:
        version = "0"
        async for event in stream.stream(
            batch.list_namespaced_job, "default", resource_version=version
        ):
            job = event["object"]
            if job.status.succeeded:
                break
    assert job.status.completion_time.tzinfo is not None
    assert [c.type for c in job.status.conditions] == ["SuccessCriteriaMet", "Complete"]
    pods = await core.list_namespaced_pod("default", label_selector="job-name=work")
    (status,) = pods.items[0].status.container_statuses
    assert (status.state.terminated.exit_code, status.state.terminated.message) == (0, "done")
    assert await core.read_namespaced_pod_log(pods.items[0].metadata.name, "default") == "hello\n"


async def test_secrets(api: Any) -> None:
    core = client.CoreV1Api(api)
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name="order"), string_data={"a": "b"})
    created = await core.create_namespaced_secret("default", secret)
    assert (created.type, created.data) == ("Opaque", {"a": "Yg=="})
    assert not created.string_data
    with pytest.raises(client.ApiException) as caught:
        await core.create_namespaced_secret("default", secret)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert (await core.delete_namespaced_secret("order", "default")).status == "Success"


async def test_leases_refuse_a_stale_renewal(api: Any) -> None:
    leases = client.CoordinationV1Api(api)
    at = datetime.datetime.now(datetime.UTC)
    spec = client.V1LeaseSpec(holder_identity="a", lease_duration_seconds=15, renew_time=at)
    lease = client.V1Lease(metadata=client.V1ObjectMeta(name="lead"), spec=spec)
    mine = await leases.create_namespaced_lease("default", lease)
    assert mine.spec.renew_time == at
    theirs = await leases.read_namespaced_lease("lead", "default")
    theirs.spec.holder_identity = "b"
    await leases.replace_namespaced_lease("lead", "default", theirs)
    with pytest.raises(client.ApiException) as caught:
        await leases.replace_namespaced_lease("lead", "default", mine)
    assert caught.value.status == 409


async def test_an_access_review_answers_by_the_policy(api: Any, cluster: LoopbackCluster) -> None:
    cluster.server.policy = lambda user, _: user.name != "mallory"
    reviews = client.AuthorizationV1Api(api)

    async def allowed(user: str) -> bool:
        attributes = client.V1ResourceAttributes(verb="create", resource="pods", subresource="exec")
        spec = client.V1SubjectAccessReviewSpec(user=user, resource_attributes=attributes)
        review = await reviews.create_subject_access_review(client.V1SubjectAccessReview(spec=spec))
        return bool(review.status.allowed)

    assert await allowed("alice")
    assert not await allowed("mallory")


async def test_a_client_comes_as_its_kubeconfig_says(cluster: LoopbackCluster, api: Any) -> None:
    await client.CoreV1Api(api).list_node()
    assert cluster.records.requests[-1].user == "admin"


async def test_pods_and_nodes_parse(api: Any, cluster: LoopbackCluster) -> None:
    cluster.seed_pod("web", spec={"nodeName": "node1"})
    core = client.CoreV1Api(api)
    pod = await core.read_namespaced_pod("web", "default")
    assert pod.status.container_statuses[0].container_id.startswith("containerd://")
    node = await core.read_node("node1")
    assert node.status.node_info.container_runtime_version == "containerd://2.4.0"


async def test_custom_objects_with_every_patch(
    api: Any, cluster: LoopbackCluster, definition: dict[str, Any]
) -> None:
    cluster.create(definition)
    # The package's own stubs leave out `_content_type`.
    custom: Any = client.CustomObjectsApi(api)
    place = ("forensics.orkaproj.io", "v1alpha1", "default", "podcheckpoints")
    body = {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "PodCheckpoint",
        "metadata": {"name": "one"},
        "spec": {"pod": "web"},
    }
    created = await custom.create_namespaced_custom_object(*place, body)
    assert created["spec"]["subpath"] == "forensics"
    merged = await custom.patch_namespaced_custom_object(
        *place, "one", {"spec": {"cancel": True}}, _content_type="application/merge-patch+json"
    )
    assert merged["metadata"]["generation"] == 2
    applied = await custom.patch_namespaced_custom_object_status(
        *place,
        "one",
        {**body, "status": {"phase": "Pending"}},
        field_manager="op",
        _content_type="application/apply-patch+yaml",
    )
    assert (applied["status"], applied["metadata"]["generation"]) == ({"phase": "Pending"}, 2)
