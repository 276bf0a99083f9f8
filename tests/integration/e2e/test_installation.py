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

from forensics_core.api.capturerule_crd import capturerule_crd
from forensics_core.api.crd import crd
from forensics_core.api.names import FINALIZER
from forensics_core.operator.settings import Settings
from forensics_loopback import LoopbackCluster
from tests.e2e.commands import Commands, Failed, kubectl
from tests.e2e.existing import Loan
from tests.e2e.inputs import STANDARD, Inputs, read_inputs
from tests.e2e.installation import (
    DEPLOY,
    MARK,
    OPERATOR,
    SYSTEM,
    Installation,
    Means,
    Ports,
    leads_to,
    render,
)
from tests.e2e.pods import POD, Target, make_namespace, shop

KUBECTL = Path(sys.executable).with_name("kubectl")
KIND, RULES = crd(), capturerule_crd()
"""Made before any event loop runs: that reads our own source."""
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
    render(inputs, folder / "deploy", Ports(s3=[9876], api=[26443]))
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
    assert {9876, 26443} <= ports(manifests["NetworkPolicy", "operator"])
    assert 26443 not in ports(manifests["NetworkPolicy", "collector"])


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
    assert inputs.s3_env()["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:9876"
    assert "secret" not in repr(inputs)
    more = {
        "E2E_AWS_ACCESS_KEY_ID": "mine",
        "E2E_AWS_SECRET_ACCESS_KEY": "m",
        "E2E_COLLECTOR_AWS_ACCESS_KEY_ID": "theirs",
        "E2E_COLLECTOR_AWS_SECRET_ACCESS_KEY": "t",
    }
    inputs = read_inputs(SAID | more)
    assert (inputs.keys.access_key_id, inputs.collector_keys.access_key_id) == ("mine", "theirs")


def test_what_every_s3_client_reads_is_enough() -> None:
    """Where it holds for pods too."""
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s"}
    usual = {"AWS_ENDPOINT_URL": "http://10.0.0.5:9000", "AWS_REGION": "eu-central-1"}
    inputs = read_inputs({"KUBECONFIG": "/nowhere"} | keys | usual)
    assert inputs.endpoint_pods == inputs.endpoint_local == "http://10.0.0.5:9000"
    assert inputs.region == "eu-central-1"
    assert read_inputs({"KUBECONFIG": "/nowhere"} | keys).region == "us-east-1"


def test_keys_for_a_while_come_with_their_token_and_are_never_mixed() -> None:
    said = SAID | {"AWS_SESSION_TOKEN": "for an hour"}
    assert "for an hour" in read_inputs(said).keys.variables().values()
    own = {"E2E_AWS_ACCESS_KEY_ID": "mine", "E2E_AWS_SECRET_ACCESS_KEY": "m"}
    assert "AWS_SESSION_TOKEN" not in read_inputs(said | own).keys.variables()
    token = {"E2E_AWS_SESSION_TOKEN": "mine for an hour"}
    keys = read_inputs(said | own | token).keys
    assert keys.variables().keys() == set(STANDARD)
    assert "mine for an hour" in keys.variables().values()
    assert "hour" not in repr(keys)


def test_commands_get_the_keys_that_were_said_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of somebody else")
    commands = Commands(read_inputs(SAID | {"E2E_TIMEOUT": "1"}))
    assert commands.run("sh", "-c", "echo $AWS_ACCESS_KEY_ID$AWS_SESSION_TOKEN").out == "key\n"


def test_kubectl_is_the_one_that_was_named_then_that_of_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBECTL", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert kubectl() == str(KUBECTL)
    theirs = tmp_path / "kubectl"
    theirs.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kubectl() == str(theirs)
    monkeypatch.setenv("KUBECTL", "/bin/sh")
    assert kubectl() == "/bin/sh"


def test_what_has_no_default_is_named() -> None:
    for name in ("E2E_AWS_ACCESS_KEY_ID", "E2E_AWS_SECRET_ACCESS_KEY", "KUBECONFIG"):
        with pytest.raises(KeyError, match=name):
            read_inputs({k: v for k, v in SAID.items() if k != name.removeprefix("E2E_")})


async def roll_out(cluster: LoopbackCluster) -> None:
    """Do what a cluster does about the operator's Deployment: have its replicas ready."""
    ready = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), 2)
    while True:
        await cluster.until("deployments", rolling, OPERATOR)
        generation = cluster.get("deployments", OPERATOR, OPERATOR)["metadata"]["generation"]
        status = ready | {"observedGeneration": generation}
        cluster.patch("deployments", OPERATOR, {"status": status}, OPERATOR)


def rolling(deployments: list[dict[str, Any]]) -> bool:
    return any(
        each.get("status", {}).get("observedGeneration") != each["metadata"]["generation"]
        for each in deployments
    )


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
    assert await to_thread.run_sync(ours.means) is Means.OWN
    await install(cluster, ours)
    keys = cluster.get("secrets", "collector-s3", SYSTEM)["data"]
    assert base64.b64decode(keys["AWS_ACCESS_KEY_ID"]) == b"key"
    assert image(cluster) == "registry.example:5000/forensics:7"
    key = ours.public_key.read_bytes()
    await to_thread.run_sync(ours.adopt)
    assert ours.public_key.read_bytes() == key
    assert await to_thread.run_sync(ours.means) is Means.OWN, "what an earlier run kept"
    await to_thread.run_sync(ours.remove)
    assert {each["metadata"]["name"] for each in cluster.list("namespaces")} == before
    assert cluster.list("clusterroles") == []


async def install(cluster: LoopbackCluster, installation: Installation) -> Loan:
    """Install as the tests do; returns what was there before."""
    await to_thread.run_sync(installation.prepare)
    loan = await to_thread.run_sync(installation.borrow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(roll_out, cluster)
        await to_thread.run_sync(installation.install)
        tasks.cancel_scope.cancel()
    return loan


def image(cluster: LoopbackCluster) -> str:
    pod = cluster.get("deployments", OPERATOR, OPERATOR)["spec"]["template"]["spec"]
    return str(pod["containers"][0]["image"])


async def test_what_was_installed_by_hand_is_set_up_and_put_back(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    await to_thread.run_sync(by_hand, ours)
    key = {"key.pem": base64.b64encode(b"theirs").decode()}
    meta = {"name": "forensics-signing-key", "namespace": OPERATOR}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": key})
    before = everything(cluster)
    assert await to_thread.run_sync(ours.means) is Means.LOAN
    loan = await install(cluster, with_inputs(ours, image=""))
    assert image(cluster) == "kube-forensics:0.1.0", "what was installed is what is tried"
    assert cluster.get("secrets", "forensics-signing-key", OPERATOR)["data"] != key
    assert await to_thread.run_sync(ours.means) is Means.ADOPT, "of a run that was killed"
    await to_thread.run_sync(loan.give_back)
    assert everything(cluster) == before


def by_hand(installation: Installation) -> None:
    """Do what docs/install.md says, with nothing set."""
    installation.commands.kubectl("apply", "-k", DEPLOY)


def with_inputs(installation: Installation, **changes: Any) -> Installation:
    return replace(installation, commands=Commands(replace(installation.inputs, **changes)))


def everything(cluster: LoopbackCluster) -> dict[tuple[str, str], Any]:
    """Return what there is, by kind and name, but for what the server writes."""
    kinds = (
        "namespaces",
        "deployments",
        "configmaps",
        "secrets",
        "networkpolicies",
        "clusterroles",
    )
    return {
        (kind, item["metadata"]["name"]): (item.get("spec"), item.get("data"), item.get("rules"))
        for kind in kinds
        for item in cluster.list(kind)
    }


async def test_what_is_in_use_is_used_or_left_alone(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    await install(cluster, ours)
    for name in (SYSTEM, OPERATOR):
        cluster.patch("namespaces", name, {"metadata": {"labels": {MARK: None}}})
    assert await to_thread.run_sync(ours.means) is Means.ADOPT
    elsewhere = with_inputs(ours, bucket="other")
    with pytest.raises(Failed, match=r"is installed, for s3://cases/prod: .*E2E_DEPLOY=1"):
        await to_thread.run_sync(elsewhere.means)
    assert await to_thread.run_sync(with_inputs(elsewhere, deploy=True).means) is Means.LOAN
    assert await to_thread.run_sync(with_inputs(elsewhere, deploy=False).means) is Means.ADOPT


@pytest.mark.parametrize(
    ("host", "port", "so"),
    [
        ("minio.store", 80, True),
        ("minio.store.svc", 80, True),
        ("minio.store.svc.cluster.local", 80, True),
        ("10.96.0.7", 80, True),
        ("203.0.113.9", 80, True),
        ("192.0.2.1", 30900, True),
        ("minio.other.svc", 80, False),
        ("minio", 80, False),
        ("192.0.2.1", 9000, False),
        ("", 443, False),
    ],
)
def test_a_service_is_known_by_name_address_or_port(host: str, port: int, so: bool) -> None:
    service = {
        "metadata": {"name": "minio", "namespace": "store"},
        "spec": {"clusterIPs": ["10.96.0.7"], "ports": [{"port": 80, "nodePort": 30900}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}},
    }
    assert leads_to(service, host, port) is so


async def test_policies_let_out_to_the_pods_ports(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    services = (("default", "kubernetes", 443, 26443), ("store", "minio", 80, 9100))
    for namespace, name, port, target in services:
        meta = {"name": name, "namespace": namespace}
        serve(cluster, meta, port, target)
    inside = with_inputs(ours, endpoint_pods="http://minio.store.svc")
    await to_thread.run_sync(inside.prepare)
    folder = inside.folder / "deploy" / "network"
    out = {
        name: ports(list(yaml.safe_load_all((folder / f"{name}.yaml").read_text()))[1])
        for name in ("operator", "collector")
    }
    assert {80, 9100} <= out["collector"]
    assert {80, 9100, 26443} <= out["operator"]
    assert 26443 not in out["collector"]


def serve(cluster: LoopbackCluster, meta: dict[str, str], port: int, target: int) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": meta["namespace"]}}
    if meta["namespace"] != "default":
        cluster.create(namespace)
    spec = {"ports": [{"port": port, "targetPort": target}]}
    cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    labels = {"kubernetes.io/service-name": meta["name"]}
    cluster.create(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": meta | {"labels": labels},
            "addressType": "IPv4",
            "endpoints": [],
            "ports": [{"port": target}],
        }
    )


async def test_requests_without_an_operator_are_removed_all_the_same(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    cluster.create(KIND)
    meta = {"name": "left", "namespace": SYSTEM, "finalizers": [FINALIZER]}
    head = {"apiVersion": "forensics.orkaproj.io/v1alpha1", "kind": "PodCheckpoint"}
    cluster.create({**head, "metadata": meta, "spec": {"pod": "web-0"}})
    await to_thread.run_sync(with_inputs(ours, timeout=1).remove)
    assert cluster.list("podcheckpoints") == []


async def test_rules_are_removed_before_the_requests_that_they_would_make_again(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    cluster.create(RULES)
    head = {"apiVersion": "forensics.orkaproj.io/v1alpha1", "kind": "CaptureRule"}
    spec = {"namespaces": ["shop"], "events": ["Failed"]}
    cluster.create({**head, "metadata": {"name": "dying", "namespace": SYSTEM}, "spec": spec})
    await to_thread.run_sync(ours.remove)
    assert cluster.list("capturerules") == []


async def test_the_older_group_goes_on_being_served_where_it_was(
    installation: tuple[LoopbackCluster, Installation], tmp_path: Path
) -> None:
    cluster, ours = installation
    await to_thread.run_sync(by_hand, ours)
    (config,) = [
        one for one in cluster.list("configmaps", OPERATOR) if "config.yaml" in one["data"]
    ]
    said = {"data": {"config.yaml": "keiko: true"}}
    cluster.patch("configmaps", config["metadata"]["name"], said, OPERATOR)
    await to_thread.run_sync(ours.prepare)
    prepared = yaml.safe_load((tmp_path / "deploy" / "operator" / "config.yaml").read_text())
    assert prepared["keiko"] is True and prepared["destinations"]


async def test_a_namespace_that_is_going_is_waited_for(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    held = {"name": "held", "namespace": SYSTEM, "finalizers": ["example.com/wait"]}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    await to_thread.run_sync(going, ours)
    with pytest.raises(Failed, match=f"The end of {SYSTEM}"):
        await to_thread.run_sync(with_inputs(ours, timeout=1).means)
    cluster.patch("configmaps", "held", {"metadata": {"finalizers": None}}, SYSTEM)
    assert await to_thread.run_sync(ours.means) is Means.OWN


async def test_a_cluster_that_does_not_answer_is_told_at_once(
    installation: tuple[LoopbackCluster, Installation], tmp_path: Path
) -> None:
    nowhere = with_inputs(installation[1], kubeconfig=str(tmp_path / "nowhere"))
    with pytest.raises(Failed, match="kubectl get namespace"):
        await to_thread.run_sync(nowhere.means)


def going(installation: Installation) -> None:
    installation.commands.kubectl("delete", "namespace", SYSTEM, "--wait=false")


async def test_the_pods_namespace_lets_them_in_and_is_known_as_ours(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    commands = with_inputs(ours, target_namespace="mall").commands
    assert await to_thread.run_sync(make_namespace, commands) is True
    labels = cluster.get("namespaces", "mall")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert await to_thread.run_sync(make_namespace, commands) is True, "of a run that was killed"
    cluster.patch("namespaces", "mall", {"metadata": {"labels": {MARK: None}}})
    assert await to_thread.run_sync(make_namespace, commands) is False


async def test_pods_of_an_earlier_run_are_replaced(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    cluster, ours = installation
    commands = with_inputs(ours, target_namespace="mall", timeout=1).commands
    await to_thread.run_sync(make_namespace, commands)
    left = shop("busybox", "left by another")
    before = cluster.create(left | {"metadata": left["metadata"] | {"namespace": "mall"}})
    with pytest.raises(Failed, match=f"The pod mall/{POD}"):
        await to_thread.run_sync(Target(commands, True).start)
    assert cluster.get("pods", POD, "mall")["metadata"]["uid"] != before["metadata"]["uid"]


async def test_a_key_that_cannot_be_read_has_to_be_named(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    with pytest.raises(Failed, match="E2E_PUBLIC_KEY"):
        await to_thread.run_sync(installation[1].adopt)


async def test_an_installation_that_never_gets_ready_says_why(
    installation: tuple[LoopbackCluster, Installation],
) -> None:
    _, ours = installation
    impatient = with_inputs(ours, timeout=1)
    await to_thread.run_sync(impatient.prepare)
    with pytest.raises(Failed, match="rollout status"):
        await to_thread.run_sync(impatient.install)
