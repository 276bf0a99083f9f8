"""The manifests: fit for the API, restricted where they can be, and at one with the code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from forensics_core.api.crd import crd
from forensics_core.api.order import ArtifactKind
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.operator.attempt.pods import LABELS
from forensics_core.operator.settings import Settings, load_settings
from tests.unit.deploy.manifests import (
    CHECKPOINTS,
    DEPLOY,
    REPOSITORY,
    STAMPING,
    Manifest,
    called,
    container,
    manifests,
    one,
    rendered,
)

OLDEST, NEWEST = "1.30", "1.37"
STAMPING_SINCE = "1.36"
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))
WRITTEN = [
    path for path in sorted(DEPLOY.rglob("*.yaml")) if not path.name.startswith("crd")
] + EXAMPLES
"""All YAML but the CRD, which is generated."""
LINT = """
extends: default
rules:
  document-start: disable
  line-length: {max: 110}
  indentation: {spaces: 2, indent-sequences: whatever}
"""


def settings() -> Settings:
    return load_settings(DEPLOY / "operator" / "config.yaml", {})


def workload(kind: str) -> Manifest:
    return one(f"{kind} forensics-operator/forensics-operator")


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("manifest", manifests(), ids=called)
def test_every_manifest_fits_the_api(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_the_validation_notices_a_field_that_does_not_exist() -> None:
    broken = workload("Deployment") | {"spec": {"replicas": "two", "colour": "red"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, OLDEST, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("manifest", manifests(CHECKPOINTS), ids=called)
def test_the_overlay_for_checkpoints_fits_the_api(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", [STAMPING_SINCE, NEWEST])
@pytest.mark.parametrize("manifest", manifests(STAMPING), ids=called)
def test_the_stamping_overlay_fits_the_api(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_yaml_is_clean(path: Path) -> None:
    problems = linter.run(path.read_text(), YamlLintConfig(LINT))
    assert [str(problem) for problem in problems] == []


def test_nothing_is_installed_twice() -> None:
    names = [called(manifest) for manifest in manifests()]
    assert len(set(names)) == len(names)


def test_the_crd_is_the_one_of_the_models() -> None:
    installed = one("CustomResourceDefinition podcheckpoints.forensics.orkaproj.io")
    assert installed["spec"] == crd()["spec"]


@pytest.mark.parametrize(
    ("namespace", "level"),
    [("forensics-system", "privileged"), ("forensics-operator", "restricted")],
)
def test_namespaces_carry_every_pod_security_label(namespace: str, level: str) -> None:
    labels = one(f"Namespace {namespace}")["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == level
        assert labels[f"pod-security.kubernetes.io/{mode}-version"] == "latest"


def test_one_edit_changes_the_image_everywhere(tmp_path: Path) -> None:
    copy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns("wheels"))
    component = copy / "image" / "kustomization.yaml"
    data = yaml.safe_load(component.read_text())
    data["images"] = [{"name": "kube-forensics", "newName": "cases/tool", "digest": "sha256:ab"}]
    component.write_text(yaml.safe_dump(data))
    for folder, times in ((copy, 2), (copy / "slackbot", 1)):
        assert rendered(folder).count("cases/tool@sha256:ab") == times
        assert "kube-forensics:" not in rendered(folder)


def test_the_jobs_get_the_operators_own_image() -> None:
    operator = container()
    environment = {entry["name"]: entry["value"] for entry in operator["env"]}
    assert load_settings(None, environment).collector.image == operator["image"]


def test_the_mounted_settings_are_the_ones_checked_in() -> None:
    (mounted,) = [manifest for manifest in manifests() if manifest["kind"] == "ConfigMap"]
    assert mounted["data"] == {"config.yaml": (DEPLOY / "operator" / "config.yaml").read_text()}
    pod = workload("Deployment")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if "configMap" in volume]
    assert volume["configMap"]["name"] == mounted["metadata"]["name"]


def test_the_operator_takes_the_settings_as_they_are_mounted(tmp_path: Path) -> None:
    """It goes on to look for a cluster, and finds none."""
    (mounted,) = [manifest for manifest in manifests() if manifest["kind"] == "ConfigMap"]
    for name, text in mounted["data"].items():
        (tmp_path / name).write_text(text)
    program, option, path = container()["command"]
    config = tmp_path / Path(path).name
    done = subprocess.run(
        [Path(sys.executable).with_name(program), option, config],
        env={"HOME": str(tmp_path), "FORENSICS_COLLECTOR_IMAGE": "tool:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Nothing says which cluster to talk to" in done.stderr
    config.write_text(f"{config.read_text()}colour: red\n")
    again = subprocess.run(done.args, env={"HOME": str(tmp_path)}, capture_output=True, text=True)
    assert "colour: Extra inputs are not permitted" in again.stderr


def test_settings_and_manifests_name_the_same_things() -> None:
    read = settings()
    assert read.destinations == ()
    lease = one("Role forensics-operator/forensics-operator")["rules"][1]
    assert lease["resourceNames"] == [read.lease_name]
    assert read.lease_namespace == "forensics-operator"
    (port,) = container()["ports"]
    assert port["containerPort"] == read.health_port


def test_the_signing_key_lies_where_the_settings_look_for_it() -> None:
    key = settings().signing_key
    assert key is not None
    mounts = {mount["mountPath"]: mount["name"] for mount in container()["volumeMounts"]}
    assert mounts[str(key.parent)] == "signing-key"


def test_the_operator_runs_restricted() -> None:
    pod = workload("Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all("hostPath" not in volume for volume in pod["volumes"])
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}


@pytest.mark.parametrize("folder", [DEPLOY, DEPLOY / "slackbot"], ids=lambda path: path.name)
def test_no_node_of_another_system_gets_an_image_of_linux(folder: Path) -> None:
    pods = [
        item["spec"]["template"]["spec"]
        for item in manifests(folder)
        if item["kind"] == "Deployment"
    ]
    assert [pod["nodeSelector"] for pod in pods] == [{"kubernetes.io/os": "linux"}]


def test_a_drain_leaves_one_of_two_replicas() -> None:
    deployment, budget = workload("Deployment"), workload("PodDisruptionBudget")
    assert deployment["spec"]["replicas"] == 2
    assert budget["spec"]["minAvailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_no_account_has_a_token_unless_it_asks() -> None:
    accounts = [manifest for manifest in manifests() if manifest["kind"] == "ServiceAccount"]
    assert {called(account) for account in accounts} == {
        "ServiceAccount forensics-operator/forensics-operator",
        "ServiceAccount forensics-system/collector",
    }
    assert not any(account["automountServiceAccountToken"] for account in accounts)


@pytest.mark.parametrize("namespace", ["forensics-system", "forensics-operator"])
def test_nothing_passes_that_no_policy_lets_through(namespace: str) -> None:
    policy = one(f"NetworkPolicy {namespace}/default-deny")["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_collectors_reach_dns_and_s3_alone_and_nobody_reaches_them() -> None:
    policy = one("NetworkPolicy forensics-system/collector")["spec"]
    assert policy["podSelector"]["matchLabels"] == LABELS
    assert "ingress" not in policy
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {53, 443, 8333, 9000}


def test_the_operators_policy_selects_the_operator() -> None:
    policy = one("NetworkPolicy forensics-operator/operator")["spec"]
    labels = workload("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {53, 443, 6443, 8443, 16443, 8333, 9000}
    (ingress,) = policy["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": settings().health_port}]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_podcheckpoints(path: Path) -> None:
    data = yaml.safe_load(path.read_text())
    checkpoint = PodCheckpoint.model_validate(data)
    assert checkpoint.to_dict()["spec"] == data["spec"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_no_example_asks_for_what_is_not_captured(path: Path) -> None:
    asked = set(PodCheckpoint.model_validate(yaml.safe_load(path.read_text())).spec.artifacts)
    assert asked
    assert not asked & {ArtifactKind.VOLUMES, ArtifactKind.MEMORY}


def test_the_sample_is_the_one_that_people_know() -> None:
    sample = yaml.safe_load((REPOSITORY / "examples" / "podcheckpoint.yaml").read_text())
    assert sample["metadata"] == {"name": "podcheckpoint-sample"}
    assert set(sample["spec"]) == {"destination", "subpath", "pod", "namespace"}
