"""The pod's surroundings: its owners, its rights, its storage, and what could not be read."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import anyio
import pytest
import yaml

from forensics_core.errors import AnswerTooLarge
from forensics_core.kube import resources
from forensics_core.kube.connection import connect
from forensics_core.kube.objects import Objects
from forensics_core.operator.attempt.context import Context, gather
from forensics_core.operator.attempt.reads import MAX_LISTING, MAX_ONE_BY_ONE
from forensics_loopback import Fault
from tests.integration.operator.stage import Document, Stage, reads_of
from tests.unit.operator.samples import checkpoint

RULES = "rbac.authorization.k8s.io"


def owned(kind: str, name: str, owner: Document | None) -> Document:
    metadata: Document = {"name": name, "namespace": "default"}
    if owner:
        metadata["ownerReferences"] = [reference(owner)]
    labels = {"app": "web"}
    container = {"name": "app", "image": "app:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


def reference(owner: Document) -> Document:
    named = {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    return {"apiVersion": "apps/v1", "kind": owner["kind"], "controller": True, **named}


def binding(name: str, role: str, subject: Document) -> Document:
    return {
        "apiVersion": f"{RULES}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": "default"},
        "roleRef": {"apiGroup": RULES, "kind": "Role", "name": role},
        "subjects": [subject],
    }


async def gathered(
    stage: Stage, pod: Document, retry_read: float = 0.5
) -> tuple[Context, dict[str, Any]]:
    async with connect(stage.kubeconfig) as cluster:
        context = await gather(reads_of(cluster, retry_read=retry_read), checkpoint(), pod)
    parsed = {
        name: yaml.safe_load(data) if name.endswith(".yaml") else json.loads(data)
        for name, data in context.files.items()
    }
    return context, parsed


async def test_what_is_around_a_pod_is_all_there(stage: Stage) -> None:
    deployment = stage.cluster.create(owned("Deployment", "web", None))
    replicas = stage.cluster.create(owned("ReplicaSet", "web-1", deployment))
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    scratch = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}
    own = {"ownerReferences": [reference(replicas)], "labels": {"app": "web"}}
    pod = stage.cluster.seed_pod("web-1", metadata=own, spec={"volumes": [claim, scratch]})
    role = {"apiVersion": f"{RULES}/v1", "kind": "Role", "rules": []}
    stage.cluster.create(role | {"metadata": {"name": "reader", "namespace": "default"}})
    account = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
    everybody = {"kind": "Group", "apiGroup": RULES, "name": "system:serviceaccounts:default"}
    another = account | {"name": "another"}
    user = {"kind": "User", "apiGroup": RULES, "name": "system:serviceaccount:default:default"}
    stage.cluster.create(binding("own", "reader", account))
    stage.cluster.create(binding("all", "gone", everybody))
    stage.cluster.create(binding("user", "reader", user))
    stage.cluster.create(binding("other", "reader", another))
    service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    name = {"name": "web", "namespace": "default"}
    stage.cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": service})
    context, files = await gathered(stage, pod)
    assert context.gaps == []
    assert [one["kind"] for one in files["context/owners.json"]] == ["ReplicaSet", "Deployment"]
    rights = files["context/serviceaccount.json"]
    assert {one["metadata"]["name"] for one in rights["bindings"]} == {"own", "all", "user"}
    assert {one.get("kind", "gone") for one in rights["roles"]} == {"Role", "gone"}
    assert files["context/network.json"]["servicesSelectingThePod"] == ["web"]
    claims = files["context/storage.json"]["persistentVolumeClaims"]
    assert [one["gone"]["name"] for one in claims] == ["data", "web-1-scratch"]
    assert files["context/pod.yaml"]["metadata"]["uid"] == pod["metadata"]["uid"]
    assert files["context/checkpoint.json"]["spec"]["pod"] == "web-0"


async def test_the_images_are_named_with_what_the_node_says_of_them(stage: Stage) -> None:
    pod = stage.cluster.get("pods", "web-0", "default")
    (status,) = pod["status"]["containerStatuses"]
    own = {"names": [status["image"]], "sizeBytes": 7}
    images = [own, {"names": ["registry.example/other:1"], "sizeBytes": 8}]
    stage.cluster.patch("nodes", "node1", {"status": {"images": images}})
    pulling = pod | {"spec": pod["spec"] | {"imagePullSecrets": [{"name": "pull"}]}}
    _, files = await gathered(stage, pulling)
    found = files["context/images.json"]
    named = {name: status[name] for name in ("name", "image", "imageID")}
    assert found["containers"] == [named]
    assert found["onTheNode"] == [own]
    assert found["imagePullSecrets"] == [{"name": "pull"}]


@pytest.mark.parametrize(("times", "gaps"), [(2, 0), (20, 1)])
async def test_an_api_server_that_is_away_for_a_moment_leaves_no_gap(
    stage: Stage, times: int, gaps: int
) -> None:
    stage.cluster.faults.add(Fault("list", "networkpolicies", times=times, reset=True))
    pod = stage.cluster.get("pods", "web-0", "default")
    context, files = await gathered(stage, pod, retry_read=0.01)
    assert len(context.gaps) == gaps
    assert ("context/network.json" in files) is not bool(gaps)


async def test_an_owner_that_is_gone_is_named(stage: Stage) -> None:
    gone = {"kind": "ReplicaSet", "metadata": {"name": "web-1", "uid": "x"}}
    pod = stage.cluster.get("pods", "web-0", "default")
    orphan = pod | {"metadata": pod["metadata"] | {"ownerReferences": [reference(gone)]}}
    _, files = await gathered(stage, orphan)
    assert files["context/owners.json"][0]["gone"]["name"] == "web-1"


async def test_what_may_not_be_read_is_a_gap_and_the_rest_goes_on(stage: Stage) -> None:
    stage.cluster.faults.add(Fault("get", "nodes", status=403, times=2))
    context, files = await gathered(stage, stage.cluster.get("pods", "web-0", "default"))
    names = {gap.partition(": ")[0] for gap in context.gaps}
    assert names == {"context/node.json", "context/images.json"}
    assert not names & files.keys()
    assert "context/network.json" in files


async def test_what_many_ask_for_is_read_once(stage: Stage) -> None:
    pod = stage.cluster.get("pods", "web-0", "default")
    async with connect(stage.kubeconfig) as cluster:
        reads = reads_of(cluster)
        contexts = [await gather(reads, checkpoint(), pod) for _ in range(3)]
    assert stage.requests("get")["get nodes"] == 1
    assert stage.requests("list")["list events"] == 3, "these are the pod's own"
    first, *others = contexts
    for later in others:
        shared, own = later.older["context/node.json"], later.older["context/events.json"]
        assert shared == first.older["context/node.json"], "as old as the answer is"
        assert own == later.captured_at > first.captured_at


async def test_what_is_around_twelve_pods_of_a_namespace_is_read_once_for_all(stage: Stage) -> None:
    deployment = stage.cluster.create(owned("Deployment", "web", None))
    replicas = stage.cluster.create(owned("ReplicaSet", "web-1", deployment))
    metadata = {"ownerReferences": [reference(replicas)]}
    pods = [stage.cluster.seed_pod(f"shop-{number}", metadata=metadata) for number in range(12)]
    before = Counter(stage.requests())
    contexts: list[Context] = []
    async with connect(stage.kubeconfig) as cluster, anyio.create_task_group() as tasks:
        reads = reads_of(cluster)

        async def gather_one(pod: Document) -> None:
            contexts.append(await gather(reads, checkpoint(), pod))

        for pod in pods:
            tasks.start_soon(gather_one, pod)
    asked = Counter(stage.requests()) - before
    assert asked.pop("list events") == len(pods), "these are each pod's own"
    assert set(asked.values()) == {1}
    assert asked.keys() == {
        *("get deployments", "get replicasets", "get nodes", "get serviceaccounts"),
        *("list rolebindings", "list clusterrolebindings", "list networkpolicies"),
        "list services",
    }
    owners = {context.files["context/owners.json"] for context in contexts}
    assert len(contexts) == len(pods) and len(owners) == 1


def annotated(number: int, size: int) -> Document:
    name = {"name": f"svc-{number:04}", "namespace": "default", "annotations": {"x": "y" * size}}
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": spec}


async def test_a_tenants_large_objects_are_cut_and_told(stage: Stage) -> None:
    for number in range(60):
        stage.cluster.create(annotated(number, 200_000))
    pod = stage.cluster.get("pods", "web-0", "default")
    context, files = await gathered(stage, pod)
    assert sum(len(data) for data in context.files.values()) < 3 * MAX_LISTING
    kept = len(files["context/network.json"]["services"])
    assert 0 < kept < 60
    (gap,) = context.gaps
    assert gap == f"context/network.json: TooLarge: only the first {kept} services were read"


async def test_pages_that_are_too_large_are_asked_for_in_parts(stage: Stage) -> None:
    for number in range(30):
        stage.cluster.create(annotated(number, 30_000))
    async with connect(stage.kubeconfig) as cluster:
        objects = Objects(cluster, resources.SERVICES)
        found = [page async for page in objects.pages("default", most=200_000)]
        with pytest.raises(AnswerTooLarge, match="more than 1000 bytes"):
            [page async for page in objects.pages("default", most=1_000)]
    assert len(found) > 1 and sum(len(page.items) for page in found) == 30


async def test_one_object_is_never_larger_than_there_is_memory_for(stage: Stage) -> None:
    stage.cluster.create(annotated(0, 5_000_000))
    async with connect(stage.kubeconfig) as cluster:
        with pytest.raises(AnswerTooLarge):
            await reads_of(cluster).get(resources.SERVICES, "svc-0000", "default")


async def test_rights_without_end_are_cut_and_named(stage: Stage) -> None:
    """Each role may have a megabyte, and whoever may make roles may bind as many as they like."""
    account = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
    for number in range(6):
        name = {"name": f"r{number}", "namespace": "default"}
        role = {"apiVersion": f"{RULES}/v1", "kind": "Role", "rules": []}
        padding = {"annotations": {"padding": "x" * 200_000}}
        stage.cluster.create(role | {"metadata": name | padding})
        stage.cluster.create(binding(f"b{number}", f"r{number}", account))
        stage.cluster.create(binding(f"again{number}", f"r{number}", account))
    context, files = await gathered(stage, stage.cluster.get("pods", "web-0", "default"))
    assert len(files["context/serviceaccount.json"]["roles"]) == 5
    assert "context/serviceaccount.json: TooLarge: only the first 5 roles were read" in context.gaps


async def test_claims_without_end_are_cut_and_named(stage: Stage) -> None:
    pod = stage.cluster.get("pods", "web-0", "default")
    volumes = [
        {"name": f"v{number}", "persistentVolumeClaim": {"claimName": f"c{number}"}}
        for number in range(MAX_ONE_BY_ONE + 5)
    ]
    context, files = await gathered(stage, pod | {"spec": pod["spec"] | {"volumes": volumes}})
    assert len(files["context/storage.json"]["persistentVolumeClaims"]) == MAX_ONE_BY_ONE
    told = f"context/storage.json: TooLarge: only the first {MAX_ONE_BY_ONE} claims were read"
    assert told in context.gaps


async def test_answers_that_are_kept_take_bounded_memory(stage: Stage) -> None:
    async with connect(stage.kubeconfig) as cluster:
        reads = reads_of(cluster, kept_bytes=500_000)
        for number in range(3):
            name = {"name": f"a{number}", "namespace": "default"}
            account = {"apiVersion": "v1", "kind": "ServiceAccount"}
            padding = {"annotations": {"padding": "x" * 200_000}}
            stage.cluster.create(account | {"metadata": name | padding})
            await reads.get(resources.SERVICE_ACCOUNTS, f"a{number}", "default")
        before = stage.requests("get").get("get serviceaccounts", 0)
        await reads.get(resources.SERVICE_ACCOUNTS, "a2", "default")
        assert stage.requests("get").get("get serviceaccounts", 0) == before
        await reads.get(resources.SERVICE_ACCOUNTS, "a0", "default")
        assert stage.requests("get").get("get serviceaccounts", 0) == before + 1
