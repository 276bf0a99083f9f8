"""The rights that are installed, against the requests that the operator makes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import anyio
import pytest

from forensics_core.export.s3.client import S3Access
from forensics_core.testing.access import Attributes, User
from forensics_core.testing.rbac import rbac
from forensics_core.testing.records import Recorded
from lab.seaweed import Identity, S3Server
from tests.integration.operator.stage import NAMESPACE, Stage, open_stage
from tests.unit.deploy.manifests import manifests

OPERATOR = User("system:serviceaccount:forensics-operator:forensics-operator")
RBAC = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


@pytest.fixture
async def stage(
    s3: S3Server,
    bucket: str,
    tmp_path: Path,
    use_env: Callable[[Mapping[str, str]], None],
) -> AsyncIterator[Stage]:
    """A cluster with the roles and bindings of the manifests."""
    use_env(s3.env(Identity.ADMIN))
    access = S3Access(endpoint_url=s3.endpoint, region="us-east-1")
    async with open_stage(bucket, access, tmp_path) as opened:
        for manifest in manifests():
            if manifest["kind"] in RBAC:
                opened.cluster.create(manifest)
        yield opened


def may(stage: Stage, verb: str, resource: str, namespace: str = "") -> bool:
    group, _, plural = resource.rpartition("/")
    asked = Attributes(verb, plural, group, namespace=namespace)
    return rbac(stage.cluster.store)(OPERATOR, asked)


def refused(stage: Stage) -> set[str]:
    """Return the requests so far that a cluster with these roles would have refused."""
    decide = rbac(stage.cluster.store)
    return {
        f"{recorded.info.verb} {recorded.info.resource} in {recorded.info.namespace or 'all'}"
        for recorded in stage.cluster.records.requests
        if not decide(OPERATOR, _attributes(recorded))
    }


def _attributes(recorded: Recorded) -> Attributes:
    info = recorded.info
    return Attributes(
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
