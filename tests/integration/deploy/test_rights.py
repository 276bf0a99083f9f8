"""The rights that are installed, against the requests that the operator makes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest

from forensics_core.api.capturerule_crd import capturerule_crd
from forensics_core.operator.attempt.context import OWNERS
from forensics_core.storage.s3.client import S3Access
from forensics_loopback import AccessAttributes, Fault, Recorded, RunningPod, User, rbac
from lab.seaweed import S3Identity, S3Server
from tests.integration.operator.stage import NAMESPACE, Document, Stage, open_stage
from tests.unit.deploy.manifests import manifests

OPERATOR = User("system:serviceaccount:forensics-operator:forensics-operator")
Grant = tuple[str, str, str]
"""The namespace or none, `group/resource`, and the verb."""
REVIEWED = {"list pods in all"}
"""Asked for only where a review of the operator's own has said yes, as it does here."""
RBAC = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


@pytest.fixture
async def stage(
    s3: S3Server,
    bucket: str,
    tmp_path: Path,
    use_env: Callable[[Mapping[str, str]], None],
) -> AsyncIterator[Stage]:
    """A cluster with the roles and bindings of the manifests."""
    use_env(s3.env(S3Identity.ADMIN))
    access = S3Access(endpoint_url=s3.endpoint, region="us-east-1")
    async with open_stage(bucket, access, tmp_path) as opened:
        for manifest in manifests():
            if manifest["kind"] in RBAC:
                opened.cluster.create(manifest)
        yield opened


def may(stage: Stage, verb: str, resource: str, namespace: str = "") -> bool:
    group, _, plural = resource.rpartition("/")
    asked = AccessAttributes(verb, plural, group, namespace=namespace)
    return rbac(stage.cluster.store)(OPERATOR, asked)


def refused(stage: Stage) -> set[str]:
    """Return the requests so far that a cluster with these roles would have refused."""
    decide = rbac(stage.cluster.store)
    return {
        f"{recorded.info.verb} {recorded.info.resource} in {recorded.info.namespace or 'all'}"
        for recorded in stage.cluster.records.requests
        if not decide(OPERATOR, _attributes(recorded))
    } - REVIEWED


def _attributes(recorded: Recorded) -> AccessAttributes:
    info = recorded.info
    return AccessAttributes(
        info.verb, info.plural, info.group, info.subresource, info.namespace, info.name
    )


async def test_a_capture_needs_no_right_that_is_not_granted(stage: Stage) -> None:
    stage.request(ttlSecondsAfterFinished=0)
    async with stage.operating():
        with anyio.fail_after(30):
            await stage.cluster.until("podcheckpoints", lambda found: not found, NAMESPACE)
    done = stage.requests()
    assert {"create jobs", "create secrets", "delete podcheckpoints", "list events"} <= set(done)
    assert refused(stage) == set()


async def test_nor_does_a_capture_that_is_cancelled(stage: Stage) -> None:
    running = anyio.Event()

    async def wait(_: object) -> None:
        running.set()
        await anyio.sleep_forever()

    stage.worker.before = wait
    stage.request()
    async with stage.operating():
        with anyio.fail_after(30):
            await running.wait()
        stage.cluster.patch("podcheckpoints", "checkpoint-1", {"spec": {"cancel": True}}, NAMESPACE)
        await stage.finished()
    assert "delete jobs" in stage.requests()
    assert refused(stage) == set()


RULE = (
    capturerule_crd(),
    {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "CaptureRule",
        "metadata": {"name": "dying", "namespace": NAMESPACE},
        "spec": {"namespaces": ["default"], "events": ["Annotated", "Alert"]},
    },
)
"""The kind, and one of it."""
RULES = "rbac.authorization.k8s.io/v1"
EVERYBODY = {"kind": "Group", "name": "system:serviceaccounts"}
CONTAINERS = [{"name": "app", "image": "app:1"}]
ASLEEP = {
    "suspend": True,
    "template": {"spec": {"restartPolicy": "Never", "containers": CONTAINERS}},
}
TAKEN = json.dumps({"kind": "Status", "status": "Failure", "reason": "AlreadyExists", "code": 409})
UNSEEN = {
    # Asked for by admission, of whoever sets an owner reference that blocks deletion.
    (NAMESPACE, "forensics.orkaproj.io/podcheckpoints/finalizers", "update"),
}
"""Rights that are granted though no request of the operator's shows them, each with its reason."""


async def test_every_right_that_is_granted_is_needed(stage: Stage) -> None:
    faults = [
        # Of two requests one fails twice: its event is counted, not written again.
        Fault("create", "secrets", status=500, times=3),
        # A proxy that asked twice: its first try went through.
        Fault("create", "jobs", status=409, body=TAKEN, executed=True),
    ]
    for fault in faults:
        stage.cluster.faults.add(fault)
    stage.worker.before = partial(cancel_first, stage)
    surroundings(stage)
    for item in RULE:
        stage.cluster.create(item)
    for name in ("one", "two"):
        stage.request(name, pod="owned-0", ttlSecondsAfterFinished=0)
    async with stage.operating():
        with anyio.fail_after(50):
            await stage.cluster.until("podcheckpoints", lambda found: not found, NAMESPACE)
    assert [fault.times for fault in faults] == [0, 0]
    assert granted() - exercised(stage) == UNSEEN


async def cancel_first(stage: Stage, _: RunningPod) -> None:
    """Have the first capture cancelled, and wait until that stops its worker."""
    stage.worker.before = None
    (job,) = stage.cluster.list("jobs", NAMESPACE)
    (owner,) = job["metadata"]["ownerReferences"]
    stage.cluster.patch("podcheckpoints", owner["name"], {"spec": {"cancel": True}}, NAMESPACE)
    await anyio.sleep_forever()


def surroundings(stage: Stage) -> None:
    """Make a pod with rights, a claim, and above it an owner of every kind."""
    for kind in ("Role", "ClusterRole"):
        role = {"kind": kind, "name": "x"}
        made(stage, RULES, kind, rules=[])
        made(
            stage,
            RULES,
            f"{kind}Binding",
            roleRef=role,
            subjects=[EVERYBODY],
        )
    made(stage, "v1", "PersistentVolumeClaim", spec={"volumeName": "disk"})
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "x"}}]
    owned: dict[str, Any] = {}
    for kind, resource in OWNERS.items():
        owner = made(stage, resource.api_version, kind, owned, spec=ASLEEP)
        reference = {"kind": kind, "apiVersion": resource.api_version, "controller": True}
        owned = {"ownerReferences": [reference | {"name": "x", "uid": owner["metadata"]["uid"]}]}
    stage.cluster.seed_pod("owned-0", metadata=owned, spec={"volumes": volumes})


def made(
    stage: Stage, api: str, kind: str, metadata: Mapping[str, Any] | None = None, **more: Any
) -> Document:
    meta = {"name": "x", "namespace": "default", **(metadata or {})}
    return stage.cluster.create({"apiVersion": api, "kind": kind, "metadata": meta, **more})


def granted() -> set[Grant]:
    """Return every right of the operator's roles."""
    roles = [item for item in manifests() if item["metadata"]["name"] == "forensics-operator"]
    return {
        (role["metadata"].get("namespace", ""), f"{group}/{resource}", verb)
        for role in roles
        for rule in role.get("rules", ())
        for group, resource, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


def exercised(stage: Stage) -> set[Grant]:
    """Return the rights that the requests so far needed; those in no role's namespace have none."""
    infos = [recorded.info for recorded in stage.cluster.records.requests]
    homes = {namespace for namespace, _, _ in granted()}
    return {
        (
            info.namespace if info.namespace in homes else "",
            f"{info.group}/{info.resource}",
            info.verb,
        )
        for info in infos
    }


def test_what_the_operator_must_not_do_is_refused(stage: Stage) -> None:
    assert may(stage, "get", "secrets", NAMESPACE)
    for verb, resource, namespace in (
        ("get", "secrets", "default"),
        ("list", "secrets", NAMESPACE),
        ("get", "secrets", "forensics-operator"),
        ("create", "pods", NAMESPACE),
        ("create", "batch/jobs", "default"),
        ("patch", "forensics.orkaproj.io/podcheckpoints", "default"),
        ("get", "configmaps", "default"),
    ):
        assert not may(stage, verb, resource, namespace), f"{verb} {resource} in {namespace}"
