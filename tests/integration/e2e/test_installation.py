"""What `make e2e` applies: the manifests of `deploy/`, set for an image, a bucket and its ports."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from anyio import to_thread

from forensics_core.api.crd import crd
from forensics_core.api.names import FINALIZER
from forensics_core.operator.settings import Settings
from forensics_core.testing import LoopbackCluster
from tests.e2e.commands import Commands, Failed
from tests.e2e.inputs import Inputs, read_inputs
from tests.e2e.installation import OPERATOR, SYSTEM, Installation, render

KUBECTL = Path(sys.executable).with_name("kubectl")
SAID = {
    "KUBECONFIG": "/nowhere",
    "E2E_IMAGE": "registry.example:5000/forensics:7",
    "E2E_S3_ENDPOINT_PODS": "http://s3.example:9876",
    "E2E_S3_ENDPOINT_LOCAL": "http://127.0.0.1:9876",
    "E2E_BUCKET": "s3://cases/prod/",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


def rendered(folder: Path, inputs: Inputs) -> dict[tuple[str, str], Any]:
    """Return the manifests by kind and name."""
    render(inputs, folder / "deploy", [16443])
    done = subprocess.run(
        [KUBECTL, "kustomize", folder / "deploy"], capture_output=True, text=True, check=True
    )
    found = list(yaml.safe_load_all(done.stdout))
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def operator(manifests: dict[tuple[str, str], Any]) -> Any:
    """Return the operator's container."""
    deployment = manifests["Deployment", "forensics-operator"]
    return deployment["spec"]["template"]["spec"]["containers"][0]


def settings(manifests: dict[tuple[str, str], Any]) -> Settings:
    """Return the operator's settings."""
    name = next(name for kind, name in manifests if kind == "ConfigMap")
    text = manifests["ConfigMap", name]["data"]["config.yaml"]
    return Settings.model_validate(yaml.safe_load(text))


def ports(policy: Any) -> set[int]:
    """Return the TCP ports that a network policy lets out to."""
    rules = [port for rule in policy["spec"]["egress"] for port in rule["ports"]]
    return {rule["port"] for rule in rules if rule["protocol"] == "TCP"}


def test_everything_that_was_said_is_in_the_manifests(tmp_path: Path) -> None:
    manifests = rendered(tmp_path, read_inputs(SAID))
    assert operator(manifests)["image"] == "registry.example:5000/forensics:7"
    variables = {one["name"]: one["value"] for one in operator(manifests)["env"]}
    assert variables["FORENSICS_COLLECTOR_IMAGE"] == "registry.example:5000/forensics:7"
    rule = settings(manifests).rule_for("s3://cases/prod/e2e-1")
    assert rule is not None
    assert (rule.prefix, rule.endpoint) == ("s3://cases/prod", "http://s3.example:9876")
    assert rule.credentials.secret == "collector-s3"  # noqa: S105  # its name
    assert 9876 in ports(manifests["NetworkPolicy", "collector"])
    assert {9876, 16443} <= ports(manifests["NetworkPolicy", "operator"])
    assert 16443 not in ports(manifests["NetworkPolicy", "collector"])


@pytest.mark.parametrize(
    ("said", "image"),
    [
        ("forensics", "forensics:latest"),
        ("registry:5000/forensics", "registry:5000/forensics:latest"),
        (f"forensics@sha256:{'0' * 64}", f"forensics@sha256:{'0' * 64}"),
        ("", "kube-forensics:0.1.0"),
    ],
)
def test_images_are_named_in_every_way(tmp_path: Path, said: str, image: str) -> None:
    manifests = rendered(tmp_path, read_inputs({**SAID, "E2E_IMAGE": said}))
    assert operator(manifests)["image"] == image


@pytest.mark.parametrize(
    ("endpoint", "port"), [("", 443), ("https://s3.example", 443), ("http://s3.example", 80)]
)
def test_the_port_follows_from_the_endpoint(endpoint: str, port: int) -> None:
    said = SAID | {"E2E_S3_ENDPOINT_PODS": endpoint, "E2E_S3_ENDPOINT_LOCAL": ""}
    assert read_inputs(said).endpoint_port == port


def test_each_identity_can_have_keys_of_its_own() -> None:
    inputs = read_inputs(SAID)
    assert inputs.keys == inputs.collector_keys
    assert inputs.s3_env()["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9876"
    assert "secret" not in repr(inputs)
    more = {
        "E2E_AWS_ACCESS_KEY_ID": "mine",
        "E2E_AWS_SECRET_ACCESS_KEY": "m",
        "E2E_COLLECTOR_AWS_ACCESS_KEY_ID": "theirs",
        "E2E_COLLECTOR_AWS_SECRET_ACCESS_KEY": "t",
    }
    inputs = read_inputs(SAID | more)
    assert (inputs.keys.access_key_id, inputs.collector_keys.access_key_id) == ("mine", "theirs")


def test_what_has_no_default_is_named() -> None:
    for name in ("E2E_AWS_ACCESS_KEY_ID", "E2E_AWS_SECRET_ACCESS_KEY", "KUBECONFIG"):
        with pytest.raises(KeyError, match=name):
            read_inputs({k: v for k, v in SAID.items() if k != name.removeprefix("E2E_")})


async def roll_out(cluster: LoopbackCluster) -> None:
    """Do what a cluster does about the operator's Deployment: have its replicas ready."""
    await cluster.until("deployments", len, OPERATOR)
    ready = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), 2)
    status = ready | {"availableReplicas": 2, "observedGeneration": 1}
    cluster.patch("deployments", OPERATOR, {"status": status}, OPERATOR)


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[tuple[LoopbackCluster, Installation]]:
    async with LoopbackCluster() as cluster:
        config = await cluster.kubeconfig(tmp_path / "kubeconfig")
        said = SAID | {"KUBECONFIG": str(config), "E2E_TIMEOUT": "30"}
        yield cluster, Installation(Commands(read_inputs(said)), tmp_path)


async def test_it_is_installed_and_removed(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    before = {each["metadata"]["name"] for each in cluster.list("namespaces")}
    await to_thread.run_sync(ours.refuse_to_overwrite)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(roll_out, cluster)
        await to_thread.run_sync(ours.install)
    keys = cluster.get("secrets", "collector-s3", SYSTEM)["data"]
    assert base64.b64decode(keys["AWS_ACCESS_KEY_ID"]) == b"key"
    key = ours.public_key.read_bytes()
    await to_thread.run_sync(ours.adopt)
    assert ours.public_key.read_bytes() == key
    await to_thread.run_sync(ours.refuse_to_overwrite)
    await to_thread.run_sync(ours.remove)
    assert {each["metadata"]["name"] for each in cluster.list("namespaces")} == before
    assert cluster.list("clusterroles") == []


async def test_requests_without_an_operator_are_removed_all_the_same(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    cluster.create(crd())
    meta = {"name": "left", "namespace": SYSTEM, "finalizers": [FINALIZER]}
    head = {"apiVersion": "forensics.orkaproj.io/v1alpha1", "kind": "PodCheckpoint"}
    cluster.create({**head, "metadata": meta, "spec": {"pod": "web-0"}})
    impatient = Commands(replace(ours.inputs, timeout=1))
    await to_thread.run_sync(replace(ours, commands=impatient).remove)
    assert cluster.list("podcheckpoints") == []


async def test_what_is_somebody_elses_is_left_alone(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR}})
    with pytest.raises(Failed, match="not from these tests"):
        await to_thread.run_sync(ours.refuse_to_overwrite)
    with pytest.raises(Failed, match="E2E_PUBLIC_KEY"):
        await to_thread.run_sync(ours.adopt)


async def test_an_installation_that_never_gets_ready_says_why(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    _, ours = installation
    impatient = Commands(replace(ours.inputs, timeout=1))
    with pytest.raises(Failed, match="rollout status"):
        await to_thread.run_sync(replace(ours, commands=impatient).install)
