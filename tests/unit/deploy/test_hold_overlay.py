"""The overlay of holds: fit for the API, few rights, at one with the code."""

from __future__ import annotations

import tomllib

import kubernetes_validate
import pytest

from forensics_core.kube.access import AccessRequest
from forensics_core.kube.resources import CAPTURE_RULES, PODS
from forensics_core.operator.rules.pod_holds import NEEDED
from tests.unit.deploy.manifests import HOLD, REPOSITORY, Manifest, called, manifests, one

RELEASER = "Deployment forensics-operator/forensics-hold-releaser"


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("manifest", manifests(HOLD), ids=called)
def test_every_manifest_fits_the_api(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def granted(role: str) -> set[tuple[str, str]]:
    """Return what a ClusterRole of the overlay grants."""
    rules = one(f"ClusterRole {role}", HOLD)["rules"]
    return {
        (verb, resource)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_operator_may_hold_pods_and_no_more_than_it_asks_for() -> None:
    assert granted("forensics-operator-hold") == {("patch", "pods"), ("hold", "capturerules")}
    assert (AccessRequest("patch", PODS), AccessRequest("hold", CAPTURE_RULES)) == NEEDED


def test_the_releaser_may_free_pods_and_no_more() -> None:
    rights = {("list", "pods"), ("watch", "pods"), ("patch", "pods")}
    assert granted("forensics-hold-releaser") == rights
    bound = {
        (subject["name"], item["roleRef"]["name"])
        for item in manifests(HOLD)
        if item["kind"] == "ClusterRoleBinding"
        for subject in item["subjects"]
    }
    assert bound == {
        ("forensics-operator", "forensics-operator-hold"),
        ("forensics-hold-releaser", "forensics-hold-releaser"),
    }


def test_the_releaser_is_its_own_program_twice_and_fit_for_a_restricted_namespace() -> None:
    spec = one(RELEASER, HOLD)["spec"]
    assert spec["replicas"] == 2
    pod = spec["template"]["spec"]
    assert pod["serviceAccountName"] == "forensics-hold-releaser"
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert container["command"][0] in project["scripts"]
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert (security["runAsNonRoot"], security["allowPrivilegeEscalation"]) == (True, False)
    assert not pod.get("volumes")


def test_the_releaser_runs_the_operators_image() -> None:
    def image(name: str, *folder: object) -> str:
        pod = one(name, *folder)["spec"]["template"]["spec"]  # type: ignore[arg-type]
        return str(pod["containers"][0]["image"])

    assert image(RELEASER, HOLD) == image("Deployment forensics-operator/forensics-operator")


def test_without_the_overlay_the_operator_patches_no_pods() -> None:
    rights = [
        rule for item in manifests() if item["kind"] == "ClusterRole" for rule in item["rules"]
    ]
    assert [rule["verbs"] for rule in rights if "pods" in rule["resources"]] == [["get"]]
