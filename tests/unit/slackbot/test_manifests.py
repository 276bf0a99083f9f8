"""What is installed for the bot: restricted, with the rights it needs and no others."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from slackbot.handlers.command import COMMAND
from slackbot.handlers.form import SHORTCUT
from slackbot.settings import load_settings
from tests.unit.deploy.manifests import DEPLOY, called, manifests
from tests.unit.deploy.manifests import one as everywhere

FOLDER = DEPLOY / "slackbot"
HTTP = DEPLOY / "overlays" / "slackbot-http"
TOKENS = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}


def one(name: str) -> dict[str, Any]:
    (found,) = [manifest for manifest in manifests(FOLDER) if called(manifest) == name]
    return found


def pod() -> dict[str, Any]:
    deployment = one("Deployment forensics-operator/forensics-slackbot")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("manifest", [*manifests(FOLDER), *manifests(HTTP)], ids=called)
def test_every_manifest_fits_the_api(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_the_rights_are_these_and_no_others() -> None:
    granted = {
        (called(manifest), group, resource, verb)
        for manifest in manifests(FOLDER)
        if manifest["kind"] in {"Role", "ClusterRole"}
        for rule in manifest["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    everywhere, work = "ClusterRole forensics-slackbot", "Role forensics-system/forensics-slackbot"
    checkpoints = ("forensics.orkaproj.io", "podcheckpoints")
    verbs = ("create", "get", "list", "watch", "patch", "delegate")
    assert granted == {
        (everywhere, "", "pods", "get"),
        (everywhere, "", "pods", "list"),
        (everywhere, "apps", "replicasets", "list"),
        (everywhere, "batch", "jobs", "list"),
        (everywhere, "authorization.k8s.io", "subjectaccessreviews", "create"),
        *((work, *checkpoints, verb) for verb in verbs),
        *((work, "forensics.orkaproj.io", "capturerules", verb) for verb in ("list", "watch")),
    }


def test_it_reaches_what_the_operator_reaches() -> None:
    def ports(policy: dict[str, Any]) -> set[int]:
        return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}

    operator = everywhere("NetworkPolicy forensics-operator/operator")
    assert ports(one("NetworkPolicy forensics-operator/slackbot")) == ports(operator)


def test_by_http_the_service_leads_to_the_port_that_is_served() -> None:
    port = load_settings(None, TOKENS).port
    bot = everywhere("Deployment forensics-operator/forensics-slackbot", HTTP)["spec"]["template"]
    service = everywhere("Service forensics-operator/forensics-slackbot", HTTP)["spec"]
    policy = everywhere("NetworkPolicy forensics-operator/slackbot-http", HTTP)["spec"]
    (container,) = bot["spec"]["containers"]
    served = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert served[service["ports"][0]["targetPort"]] == port
    assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port}]
    labels = bot["metadata"]["labels"].items()
    for selector in (service["selector"], policy["podSelector"]["matchLabels"]):
        assert selector.items() <= labels


def test_it_runs_restricted_and_alone() -> None:
    (container,) = pod()["containers"]
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod())
    assert all("hostPath" not in volume for volume in pod()["volumes"])
    deployment = one("Deployment forensics-operator/forensics-slackbot")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}


def test_the_settings_that_are_installed_allow_nobody_anything() -> None:
    settings = load_settings(FOLDER / "config.yaml", TOKENS)
    assert not settings.channels
    assert not settings.user_groups
    assert not settings.users
    (container,) = pod()["containers"]
    assert container["ports"][0]["containerPort"] == settings.health_port


def test_slacks_own_manifest_names_what_the_bot_listens_to() -> None:
    app = yaml.safe_load((FOLDER / "app-manifest.yaml").read_text())
    features = app["features"]
    assert [one["command"] for one in features["slash_commands"]] == [COMMAND]
    assert [one["callback_id"] for one in features["shortcuts"]] == [SHORTCUT]
    assert len(features["slash_commands"][0]["usage_hint"]) <= 1000
    assert app["settings"]["socket_mode_enabled"] is True
    assert app["settings"]["event_subscriptions"]["bot_events"] == ["app_home_opened"]
