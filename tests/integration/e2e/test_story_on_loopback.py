"""The story of tests/e2e, told on a loopback cluster, so that it stays true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import anyio
import pytest

from forensics_core.api.capturerule_crd import capturerule_crd
from forensics_core.storage.s3.client import S3Access
from forensics_loopback import ProcessRunner
from lab.docker import DockerEngine
from lab.seaweed import REGION, S3Identity, S3Server
from tests.e2e.pods import PENDING
from tests.integration.e2e.front import admitting
from tests.integration.e2e.kubelet import DockerKubelet
from tests.integration.operator.stage import NAMESPACE, Stage, open_stage
from tests.unit.deploy.manifests import DEPLOY, manifests

ROOT = Path(__file__).parents[3]
TARGETS = "mall"
RULES = capturerule_crd()

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only"),
    pytest.mark.timeout(300),
]


@pytest.fixture
async def stage(
    s3: S3Server,
    bucket: str,
    tmp_path: Path,
    use_env: Callable[[Mapping[str, str]], None],
) -> AsyncIterator[Stage]:
    """A cluster, an operator's settings, and the operator's key where an installation has it."""
    use_env(s3.env(S3Identity.ADMIN))
    identity = S3Identity.ADMIN
    access = S3Access(
        endpoint_url=s3.endpoint,
        region=REGION,
        access_key_id=identity.access_key,
        secret_access_key=identity.secret_key,
    )
    async with open_stage(bucket, access, tmp_path) as opened:
        key = (tmp_path / "key.pem").read_text()
        meta = {"name": "forensics-signing-key", "namespace": "forensics-operator"}
        opened.cluster.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"key.pem": key}}
        )
        opened.cluster.create(RULES)
        for manifest in manifests():
            if manifest["kind"] == "ClusterRole":
                opened.cluster.create(manifest)
        for overlay in ("containment", "rules", "hold"):
            for manifest in manifests(DEPLOY / "overlays" / overlay):
                if manifest["apiVersion"].startswith("rbac."):
                    opened.cluster.create(manifest)
        opened.cluster.enforce_rbac()
        yield opened


async def test_the_story_is_true(
    stage: Stage, docker: DockerEngine, image: str, s3: S3Server, tmp_path: Path
) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    stage.cluster.use_runner(ProcessRunner(env=docker.env | {"PATH": path}))
    said = {
        "E2E_DEPLOY": "0",
        "E2E_TARGET_IMAGE": image,
        "E2E_TARGET_NAMESPACE": TARGETS,
        "E2E_S3_ENDPOINT_PODS": s3.endpoint,
        "E2E_BUCKET": stage.bucket,
        "E2E_AWS_ACCESS_KEY_ID": S3Identity.ADMIN.access_key,
        "E2E_AWS_SECRET_ACCESS_KEY": S3Identity.ADMIN.secret_key,
        "E2E_TIMEOUT": "60",
    }
    kubelet = DockerKubelet(stage.cluster, docker, image, TARGETS)
    async with (
        admitting(stage.cluster, tmp_path / "front") as kubeconfig,
        stage.operating(),
        kubelet.running(),
    ):
        told = await tell(said | {"KUBECONFIG": str(kubeconfig)}, tmp_path / "told")
    assert told.returncode == 0, told.stdout.decode()
    (passed,) = re.findall(rb"(\d+) passed", told.stdout)
    assert int(passed) >= 20, told.stdout.decode()
    for overlay in (b"containment", b"rules", b"hold"):
        assert b"deploy/overlays/" + overlay not in told.stdout, told.stdout.decode()
    await gone(stage, s3)


async def tell(said: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the story as `make e2e` does."""
    pytest_ = [sys.executable, "-m", "pytest", "-m", "e2e", "tests/e2e", f"--basetemp={folder}"]
    return await anyio.run_process(
        [*pytest_, "-p", "no:cacheprovider", "-rs"],
        cwd=ROOT,
        env={**os.environ, **said},
        check=False,
        stderr=subprocess.STDOUT,
    )


async def gone(stage: Stage, s3: S3Server) -> None:
    """Assert that nothing of the story is left."""
    assert stage.cluster.list("podcheckpoints", NAMESPACE) == []
    assert PENDING not in [pod["metadata"]["name"] for pod in stage.cluster.list("pods")]
    assert TARGETS not in [each["metadata"]["name"] for each in stage.cluster.list("namespaces")]
    async with s3.client() as client:
        assert (await client.list_objects_v2(Bucket=stage.bucket))["KeyCount"] == 0


async def test_the_story_is_only_told_when_asked_for(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "tests/e2e", f"--basetemp={tmp_path / 'told'}"]
    done = await anyio.run_process([*command, "-p", "no:cacheprovider"], cwd=ROOT, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert b"deselected" in done.stdout


async def test_without_a_cluster_the_story_fails_loudly(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    command = [sys.executable, "-m", "pytest", "-m", "e2e", "tests/e2e", "-x"]
    done = await anyio.run_process(
        [*command, f"--basetemp={tmp_path / 'told'}", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=environment | {"E2E_AWS_ACCESS_KEY_ID": "a", "E2E_AWS_SECRET_ACCESS_KEY": "b"},
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert b"KUBECONFIG is not set: see docs/e2e.md" in done.stdout
