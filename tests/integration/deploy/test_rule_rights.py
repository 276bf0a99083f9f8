"""The rights of the overlays for rules and alerts, against the requests that these make."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from itertools import product
from pathlib import Path

import anyio
import pytest

from forensics_core.api.names import CAPTURE_ANNOTATION
from forensics_core.operator.settings import AlertSettings
from forensics_core.storage.s3.client import S3Access
from lab.seaweed import S3Identity, S3Server
from tests.integration.deploy.test_rights import RBAC, RULE, Grant, refused
from tests.integration.operator.stage import NAMESPACE, Stage, open_stage
from tests.unit.deploy.manifests import REPOSITORY, manifests

WHOLE = REPOSITORY / "examples" / "alerts"
OVERLAYS = {"forensics-operator-rules", "forensics-operator-alerts"}
UNSEEN = {
    # Admission asks for it, of whoever has pods captured that he may not exec into.
    (NAMESPACE, "forensics.orkaproj.io/podcheckpoints", "delegate"),
    # A second event of the same kind is counted on the first.
    ("", "events.k8s.io/events", "patch"),
    # The Service leads to the leader by one of two names, and is applied, which creates it.
    ("forensics-operator", "discovery.k8s.io/endpointslices", "create"),
}
"""Rights that are granted though no request shows them, each with its reason."""


@pytest.fixture
async def stage(
    s3: S3Server,
    bucket: str,
    tmp_path: Path,
    use_env: Callable[[Mapping[str, str]], None],
) -> AsyncIterator[Stage]:
    """A cluster with the roles and bindings of the operator and both overlays."""
    use_env(s3.env(S3Identity.ADMIN))
    access = S3Access(endpoint_url=s3.endpoint, region="us-east-1")
    async with open_stage(bucket, access, tmp_path) as opened:
        for manifest in manifests(WHOLE):
            if manifest["kind"] in RBAC:
                opened.cluster.create(manifest)
        for item in RULE:
            opened.cluster.create(item)
        yield opened


async def test_rules_and_alerts_need_just_the_rights_of_their_overlays(stage: Stage) -> None:
    assert stage.settings.signing_key is not None
    alerts = AlertSettings(folder=stage.settings.signing_key.parent, port=0, address="127.0.0.1")
    async with stage.operating(stage.settings.model_copy(update={"alerts": alerts})):
        change = {"metadata": {"annotations": {CAPTURE_ANNOTATION: "odd traffic"}}}
        stage.cluster.patch("pods", "web-0", change, "default")
        with anyio.fail_after(60):
            found = await stage.cluster.until("podcheckpoints", lambda items: items, NAMESPACE)
        await stage.finished(next(iter(found))["metadata"]["name"])
        with anyio.fail_after(60):
            await stage.cluster.until(
                "events",
                lambda items: [one for one in items if one["reason"] == "Captured"],
                "default",
            )
    # Everybody who is authenticated may ask who he is: system:basic-user.
    assert refused(stage) <= {"create selfsubjectreviews in all"}
    assert granted() - exercised(stage) == UNSEEN


def granted() -> set[Grant]:
    roles = [
        item
        for item in manifests(WHOLE)
        if item["kind"] in {"Role", "ClusterRole"} and item["metadata"]["name"] in OVERLAYS
    ]
    assert {role["metadata"]["name"] for role in roles} == OVERLAYS
    return {
        (role["metadata"].get("namespace", ""), f"{group}/{resource}", verb)
        for role in roles
        for rule in role["rules"]
        for group, resource, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


def exercised(stage: Stage) -> set[Grant]:
    homes = {namespace for namespace, _, _ in granted()}
    return {
        (
            recorded.info.namespace if recorded.info.namespace in homes else "",
            f"{recorded.info.group}/{recorded.info.resource}",
            recorded.info.verb,
        )
        for recorded in stage.cluster.records.requests
    }
