"""The operator asks a kubelet for a checkpoint by CRIU, with the rights of the overlay alone."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from forensics_core.api.order import KubeletCheckpoint
from forensics_core.operator.settings import KubeletSettings
from forensics_loopback.checkpoints import (
    Checkpointer,
    CheckpointError,
    checkpoint_api,
)
from forensics_loopback.kinds.objects import Obj
from forensics_loopback.server.server import TOKEN
from lab.certificate import SelfSignedCertificate, make_certificate
from tests.integration.operator.stage import Stage
from tests.unit.deploy.manifests import CHECKPOINTS, manifests

ARCHIVE = "/var/lib/kubelet/checkpoints/checkpoint-web-0_default-app-2026-11-27T22:57:39Z.tar"


@pytest.fixture
def certificate(tmp_path: Path) -> SelfSignedCertificate:
    folder = tmp_path / "tls"
    folder.mkdir()
    return make_certificate(folder)


def allow(stage: Stage, *left_out: str) -> None:
    """Apply the overlay, and let roles decide from now on."""
    for manifest in manifests(CHECKPOINTS):
        if manifest["kind"] not in {"NetworkPolicy", *left_out}:
            stage.cluster.create(manifest)
    stage.cluster.enforce_rbac()


async def made(pod: Obj, container: str) -> str:
    assert (pod["metadata"]["name"], container) == ("web-0", "app")
    return ARCHIVE


async def broken(pod: Obj, container: str) -> str:
    raise CheckpointError("rpc error: code = Unknown desc = criu failed: type NOTIFY errno 0")


async def old(pod: Obj, container: str) -> str:
    raise CheckpointError("rpc error: code = Unimplemented desc = unknown method Checkpoint")


async def hostile(pod: Obj, container: str) -> str:
    return "/var/lib/kubelet/checkpoints/../../../../etc/shadow"


async def ordered(
    stage: Stage,
    checkpointer: Checkpointer | None,
    certificate: SelfSignedCertificate,
    tls: ssl.SSLContext | None = None,
    artifacts: tuple[str, ...] = ("inspect", "memory"),
    **changes: Any,
) -> tuple[KubeletCheckpoint, ...]:
    """Run a checkpoint to its end, and return what its order said of the kubelet's answer."""
    settings = KubeletSettings(ca_file=certificate.path, **changes)
    stage.request(artifacts=list(artifacts))
    async with checkpoint_api(stage.cluster, "node1", checkpointer, tls or certificate.server()):
        update = {"kubelet_checkpoint": settings}
        async with stage.operating(stage.settings.model_copy(update=update)):
            status = await stage.finished()
    assert status["phase"] == "Complete"
    (order,) = stage.worker.runs
    return order.kubelet_checkpoints


async def test_the_order_says_where_the_archive_is(
    stage: Stage, certificate: SelfSignedCertificate
) -> None:
    allow(stage)
    assert await ordered(stage, made, certificate) == (
        KubeletCheckpoint(container="app", archive=ARCHIVE),
    )
    asked = stage.cluster.records.counts()
    assert asked["create serviceaccounts/token"] == 1
    assert not any("nodes/proxy" in what for what in asked)


@pytest.mark.parametrize(
    ("checkpointer", "reason", "told"),
    [
        (broken, "Failed", "criu failed: type NOTIFY errno 0"),
        (old, "NotSupported", "unknown method Checkpoint"),
        (None, "NotSupported", "the feature gate ContainerCheckpoint is off"),
        (hostile, "Failed", "The kubelet names no archive"),
    ],
)
async def test_why_there_is_no_archive(
    stage: Stage,
    certificate: SelfSignedCertificate,
    checkpointer: Checkpointer | None,
    reason: str,
    told: str,
) -> None:
    allow(stage)
    (answer,) = await ordered(stage, checkpointer, certificate)
    assert (answer.archive, answer.reason) == ("", reason)
    assert told in answer.message
    assert answer.message.endswith("The cluster serves no PodCheckpoint of its own")


async def test_without_the_right_the_kubelet_refuses(
    stage: Stage, certificate: SelfSignedCertificate
) -> None:
    allow(stage, "ClusterRoleBinding")
    (answer,) = await ordered(stage, made, certificate)
    assert answer.reason == "NotPermitted"
    assert "user=system:serviceaccount:forensics-operator:forensics-kubelet-checkpoint" in (
        answer.message
    )


async def test_without_the_overlay_there_is_no_token(
    stage: Stage, certificate: SelfSignedCertificate
) -> None:
    (answer,) = await ordered(stage, made, certificate)
    assert answer.reason == "Unreachable"
    assert "forensics-kubelet-checkpoint" in answer.message


async def test_a_kubelet_whose_certificate_nobody_signed_gets_no_token(
    stage: Stage, certificate: SelfSignedCertificate, tmp_path: Path
) -> None:
    allow(stage)
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    (answer,) = await ordered(stage, made, certificate, other.server())
    assert answer.reason == "Unreachable"
    assert "certificate" in answer.message


async def test_the_check_can_be_left_out(
    stage: Stage, certificate: SelfSignedCertificate, tmp_path: Path
) -> None:
    allow(stage)
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    (answer,) = await ordered(stage, made, certificate, other.server(), verify=False)
    assert answer.archive == ARCHIVE


async def test_a_kubelet_that_takes_too_long_is_not_waited_for(
    stage: Stage, certificate: SelfSignedCertificate
) -> None:
    async def slow(pod: Obj, container: str) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    allow(stage)
    (answer,) = await ordered(stage, slow, certificate, seconds=1)
    assert answer.reason == "Deadline"
    assert "was given 1 seconds for the pod" in answer.message


async def test_another_way_is_named_where_the_cluster_serves_it(
    stage: Stage, certificate: SelfSignedCertificate
) -> None:
    allow(stage)
    stage.cluster.create(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "podcheckpoints.checkpoint.k8s.io"},
            "spec": {
                "group": "checkpoint.k8s.io",
                "scope": "Namespaced",
                "names": {"plural": "podcheckpoints", "kind": "PodCheckpoint"},
                "versions": [
                    {
                        "name": "v1alpha1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object"}},
                    }
                ],
            },
        }
    )
    (answer,) = await ordered(stage, broken, certificate)
    assert "serves PodCheckpoint of checkpoint.k8s.io/v1alpha1" in answer.message


async def test_nobody_asks_where_no_memory_is_wanted(
    stage: Stage, certificate: SelfSignedCertificate
) -> None:
    assert await ordered(stage, made, certificate, artifacts=("inspect",)) == ()
    assert "create serviceaccounts/token" not in stage.cluster.records.counts()


async def test_a_container_that_does_not_run_is_not_asked_for(
    stage: Stage, certificate: SelfSignedCertificate
) -> None:
    allow(stage)
    pod = stage.cluster.get("pods", "web-0", "default")
    (status,) = pod["status"]["containerStatuses"]
    ended = {**status, "state": {"terminated": {"exitCode": 0}}}
    stage.cluster.patch("pods", "web-0", {"status": {"containerStatuses": [ended]}}, "default")
    assert await ordered(stage, made, certificate) == ()


@pytest.mark.parametrize(
    ("path", "token", "status", "told"),
    [
        ("default/web-0/app", "", 401, "Unauthorized"),
        ("default/none/app", TOKEN, 404, "pod does not exist"),
        ("default/web-0/none", TOKEN, 404, "container none does not exist"),
        ("default/web-0/app", TOKEN, 200, f'{{"items":["{ARCHIVE}"]}}'),
    ],
)
async def test_what_a_loopback_kubelet_answers(
    stage: Stage, certificate: SelfSignedCertificate, path: str, token: str, status: int, told: str
) -> None:
    async with checkpoint_api(stage.cluster, "node1", made, certificate.server()):
        node = stage.cluster.get("nodes", "node1")
        port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
            session.post(
                f"https://127.0.0.1:{port}/checkpoint/{path}", ssl=certificate.client()
            ) as answer,
        ):
            assert (answer.status, await answer.text()) == (status, told)
