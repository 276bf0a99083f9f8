"""The overlays of rules and alerts: fit for the API, few rights, at one with the code."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from forensics_core.api.capturerule import CaptureRule
from forensics_core.operator.alerts.endpoint import endpoint_slice
from forensics_core.operator.settings import AlertSettings, load_settings
from tests.unit.deploy.manifests import REPOSITORY, RULES, Manifest, called, manifests, one

WHOLE = REPOSITORY / "examples" / "alerts"
"""The operator with both overlays, as the example has it."""
OLDEST, NEWEST = "1.30", "1.37"
EXAMPLES = [
    path
    for folder in ("rules", "alerts")
    for path in sorted((REPOSITORY / "examples" / folder).glob("*.yaml"))
    if "kind: CaptureRule" in path.read_text()
]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    "manifest",
    [item for item in manifests(WHOLE) if item["kind"] != "CaptureRule"],
    ids=called,
)
def test_every_manifest_fits_the_api(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_a_rule(path: Path) -> None:
    rule = CaptureRule.parse(yaml.safe_load(path.read_text()))
    assert rule.metadata.namespace == "forensics-system"
    assert not rule.spec.covers("kube-system")
    assert rule.spec.checkpoint("web-0", "shop", reason="x").destination


def test_the_overlay_of_rules_may_watch_pods_tell_and_ask_for_captures_and_no_more() -> None:
    roles = [item for item in manifests(RULES) if item["kind"] in {"Role", "ClusterRole"}]
    granted = {
        (role["kind"], resource, verb)
        for role in roles
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {
        ("ClusterRole", "pods", "list"),
        ("ClusterRole", "pods", "watch"),
        ("ClusterRole", "events", "create"),
        ("ClusterRole", "events", "patch"),
        ("Role", "podcheckpoints", "create"),
        ("Role", "podcheckpoints", "delegate"),
    }


def test_without_the_overlays_no_port_is_opened_and_no_pod_is_watched() -> None:
    operator = one("Deployment forensics-operator/forensics-operator")
    assert "FORENSICS_ALERTS" not in str(operator)
    rights = [
        rule for item in manifests() if item["kind"] == "ClusterRole" for rule in item["rules"]
    ]
    pods = [rule["verbs"] for rule in rights if rule["resources"] == ["pods"]]
    assert pods == [["get"]]


def test_the_component_sets_what_the_operator_reads() -> None:
    pod = one("Deployment forensics-operator/forensics-operator", WHOLE)["spec"]["template"]["spec"]
    (operator,) = pod["containers"]
    environment = {entry["name"]: entry.get("value", "10.0.0.7") for entry in operator["env"]}
    alerts = load_settings(None, environment).alerts
    assert alerts is not None
    mounts = {mount["name"]: mount["mountPath"] for mount in operator["volumeMounts"]}
    assert str(alerts.folder) == mounts["alerts"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "alerts"]
    names = {
        item["path"]
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    assert names == {"token", "tls.crt", "tls.key"}
    ports = {port["name"]: port["containerPort"] for port in operator["ports"]}
    assert ports["alerts"] == alerts.port
    assert alerts.address == "10.0.0.7"


@pytest.mark.parametrize("address", ["10.0.0.7", "fd00::7"])
def test_the_service_leads_to_the_leader_by_a_name_that_it_may_write(address: str) -> None:
    service = one("Service forensics-operator/forensics-alerts", WHOLE)
    assert "selector" not in service["spec"]
    settings = AlertSettings(folder=Path("/x"), address=address)
    made = endpoint_slice(settings, "forensics-operator", 8443)
    kubernetes_validate.validate(
        made | {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}, NEWEST, strict=True
    )
    assert made["metadata"]["labels"]["kubernetes.io/service-name"] == settings.service
    role = one("Role forensics-operator/forensics-operator-alerts", WHOLE)
    names = [name for rule in role["rules"] for name in rule.get("resourceNames", ())]
    assert made["metadata"]["name"] in names
    assert service["spec"]["ports"][0]["name"] == made["ports"][0]["name"]
