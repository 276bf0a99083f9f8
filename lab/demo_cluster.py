"""The demo's cluster: a loopback Kubernetes API with the real container behind one of its pods.

Its Jobs run as processes of this machine, and so does the operator, with the rights that
`deploy/rbac` gives it and no others.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import yaml

from forensics_core.bundle.seal import generate_key
from forensics_loopback import LoopbackCluster, ProcessRunner, User
from lab.demo_screen import follow, run, tell
from lab.demo_shop import CONTAINER, DemoContainer
from lab.process import LabError, daemon, in_thread, wait_until_ready
from lab.seaweed import REGION, S3Identity, S3Server

ROOT = Path(__file__).parent.parent
SYSTEM, OPERATOR = "forensics-system", "forensics-operator"
EVERYBODY = "system:authenticated"
ACCOUNT = User(
    f"system:serviceaccount:{OPERATOR}:{OPERATOR}", ("system:serviceaccounts", EVERYBODY)
)
OVERLAYS = ("overlays/rules/rbac.yaml", "overlays/hold/rbac.yaml")
"""The rights to act on rules and to hold pods."""
SECRET = "collector-s3"  # noqa: S105  # its name
EXAMPLE = ROOT / "examples" / "podcheckpoint.yaml"
CHECKPOINT_TIMEOUT = 120.0
"""Seconds that the checkpoint may take."""
_OVER = re.compile(r"\s(Complete|Failed)\s")


@dataclass(frozen=True, slots=True)
class DemoSetup:
    """Where the demo takes place."""

    target: DemoContainer
    s3: S3Server
    bucket: str
    """`s3://BUCKET`."""
    folder: Path
    """For the demo's own files."""

    @property
    def kubectl_env(self) -> dict[str, str]:
        """The variable that leads kubectl to the cluster."""
        return {"KUBECONFIG": str(self.folder / "kubeconfig")}


@asynccontextmanager
async def demo_cluster(demo: DemoSetup) -> AsyncIterator[LoopbackCluster]:
    """Run the cluster for the block, with a pod `default/NAME` that is the container."""
    runner = ProcessRunner(env=demo.target.env)
    async with LoopbackCluster(runner=runner) as cluster:
        await cluster.kubeconfig(demo.folder / "kubeconfig", namespace=SYSTEM)
        cluster.seed_pod(demo.target.name, **container_pod(demo.target.id))
        yield cluster


def container_pod(container: str) -> dict[str, Any]:
    """Return spec and status of a pod that runs a container, by its ID as in a status."""
    image = "registry.example/shop:1.4"
    status = {
        "name": CONTAINER,
        "image": image,
        "imageID": "",
        "containerID": container,
        "state": {"running": {}},
        "ready": True,
        "restartCount": 0,
    }
    spec = {"containers": [{"name": CONTAINER, "image": image}]}
    return {"spec": spec, "status": {"containerStatuses": [status]}}


async def install(cluster: LoopbackCluster, demo: DemoSetup) -> None:
    """Apply the manifests, and the Secret that an administrator makes; from now on rights count."""
    tell("An administrator installs namespaces, resource and rights, as docs/install.md says.")
    parts = ("namespaces.yaml", "crd.yaml", "crd-capturerules.yaml", "rbac", *OVERLAYS)
    files = [argument for part in parts for argument in ("-f", f"deploy/{part}")]
    await run("kubectl", "apply", *files, env=demo.kubectl_env, folder=ROOT)
    cluster.create(_secret())
    cluster.enforce_rbac()


def _secret() -> dict[str, Any]:
    who = S3Identity.COLLECTOR
    keys = {"AWS_ACCESS_KEY_ID": who.access_key, "AWS_SECRET_ACCESS_KEY": who.secret_key}
    meta = {"name": SECRET, "namespace": SYSTEM}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": keys}


@asynccontextmanager
async def operator(cluster: LoopbackCluster, demo: DemoSetup) -> AsyncIterator[None]:
    """Run the operator for the block, as a process of its own that comes as its account."""
    private, public = generate_key()
    settings = demo.folder / "operator.yaml"
    for name, content in {"key.pem": private, "forensics.pub": public}.items():
        await anyio.Path(demo.folder / name).write_bytes(content)
    await anyio.Path(settings).write_text(yaml.safe_dump(_settings(demo)))
    config = await cluster.kubeconfig(demo.folder / "operator.kubeconfig", user=ACCOUNT)
    async with in_thread(_operator(demo, settings, config)):
        yield


def _settings(demo: DemoSetup) -> dict[str, Any]:
    rule = {
        "prefix": demo.bucket,
        "endpoint": demo.s3.endpoint,
        "region": REGION,
        "credentials": {"secret": SECRET},
    }
    return {
        "destinations": [rule],
        "signingKey": str(demo.folder / "key.pem"),
        "healthPort": 0,
        "progressSeconds": 0.25,
        "collector": {"image": "kube-forensics:demo"},
    }


@contextmanager
def _operator(demo: DemoSetup, settings: Path, config: Path) -> Iterator[None]:
    program = Path(sys.executable).with_name("forensics-operator")
    port, log = demo.folder / "operator.port", demo.folder / "operator.log"
    options = (f"--config={settings}", f"--kubeconfig={config}", f"--port-file={port}")
    env = demo.s3.env(S3Identity.ADMIN)
    with daemon([program, *options], log, env=env, grace=10) as process:
        wait_until_ready("The operator", port.exists, process, log)
        yield


async def write_request(demo: DemoSetup) -> Path:
    """Write the sample manifest with the demo's own pod and bucket in it."""
    request = yaml.safe_load(await anyio.Path(EXAMPLE).read_text())
    request["metadata"]["name"] = demo.target.name
    request["spec"] |= {"pod": demo.target.name, "destination": demo.bucket}
    path = demo.folder / "podcheckpoint.yaml"
    await anyio.Path(path).write_text(yaml.safe_dump(request, sort_keys=False))
    return path


async def watch(cluster: LoopbackCluster, demo: DemoSetup) -> dict[str, Any]:
    """Show the checkpoint's way to its end and return its status. Raises `LabError` if it fails."""
    with anyio.move_on_after(CHECKPOINT_TIMEOUT):
        command = ("kubectl", "get", "pcp", demo.target.name, "--watch")
        await follow(*command, until=_OVER.search, env=demo.kubectl_env)
    status: dict[str, Any] = cluster.get("podcheckpoints", demo.target.name, SYSTEM).get(
        "status", {}
    )
    if status.get("phase") != "Complete":
        said = [each["message"] for each in status.get("conditions", [])]
        raise LabError(f"The checkpoint is {status.get('phase', 'not begun')}: {said}")
    return status
