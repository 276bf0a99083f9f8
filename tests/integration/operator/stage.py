"""A stage for the operator: a loopback cluster, real S3, and workers that store real bundles."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from forensics_core.api.crd import crd
from forensics_core.api.order import ArtifactKind, WorkOrder
from forensics_core.bundle.layout import MAIN_ARTIFACTS
from forensics_core.bundle.manifest import (
    Artifact,
    Capture,
    NotCaptured,
)
from forensics_core.bundle.seal import generate_key
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.kube.connection import ClusterConnection, connect
from forensics_core.kube.lease import LeaseTiming
from forensics_core.operator.attempt.reads import MAX_KEPT_BYTES, Reads
from forensics_core.operator.main import operate
from forensics_core.operator.settings import Settings, Timings
from forensics_core.storage.blocks import one
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.storage import open_destination
from forensics_loopback import ContainerExit, LoopbackCluster, RunningPod
from lab.idle import idle_capture, order_of

NAMESPACE = "forensics-system"
CALM = LeaseTiming(renew_within=120)
"""For one operator alone: a busy machine may let it wait longer than others would stand by."""
Document = dict[str, Any]


def unchanged(capture: Capture) -> Capture:
    """Return the manifest's predicate as an honest collector makes it."""
    return capture


def unchanged_row(artifact: Artifact) -> Artifact:
    """Return what the manifest says of an artifact as an honest collector says it."""
    return artifact


@dataclass
class Worker:
    """A collector's stand-in for the operator's tests: it stores a bundle as the real one does."""

    access: S3Access
    runs: list[WorkOrder] = field(default_factory=list)
    thawed: list[list[str]] = field(default_factory=list)
    """The containers that each thaw Job was to resume."""
    before: Callable[[RunningPod], Awaitable[ContainerExit | None]] | None = None
    """Called first; what it returns ends the worker there."""
    gaps: tuple[NotCaptured, ...] = ()
    leaves_out: ArtifactKind | None = None
    """What it says nothing of, as no honest collector would."""
    contents: dict[ArtifactKind, bytes] = field(default_factory=dict)
    """What it stores of each kind, where that matters."""
    alter: Callable[[Capture], Capture] = unchanged
    """Makes the manifest say something else."""
    alter_row: Callable[[Artifact], Artifact] = unchanged_row
    """Makes it say something else of each artifact."""

    async def __call__(self, pod: RunningPod) -> ContainerExit:
        command = list(pod.container["command"])
        if "thaw" in command:
            self.thawed.append(command[command.index("thaw") + 1 :])
            return ContainerExit()
        order, digest = order_of(pod)
        self.runs.append(order)
        if self.before is not None:
            ended = await self.before(pod)
            if ended is not None:
                return ended
        await self.store(order, digest, pod)
        return ContainerExit()

    async def store(
        self,
        order: WorkOrder,
        digest: str,
        pod: RunningPod | None = None,
        gaps: tuple[NotCaptured, ...] | None = None,
    ) -> None:
        """Store the bundle that the order asks for, with these gaps instead of the worker's."""
        gaps = self.gaps if gaps is None else gaps
        url = f"{order.destination}/{order.bundle}"
        async with open_destination(url, access=self.access) as destination:
            bundle = BundleWriter(destination)
            for target in order.targets:
                for kind in self.kinds(order, gaps):
                    file = MAIN_ARTIFACTS[kind][0]
                    name = f"containers/{target.name}/{file}" + ("0.log" if file[-1] == "/" else "")
                    spec = ArtifactSpec(name, kind, target.name, "application/json")
                    await bundle.add(spec, one(self.contents.get(kind, b'{"Id": "x"}')))
                if pod is not None:
                    pod.log.write(progress_line(bundle))
            for gap in (*gaps, *not_gathered(order)):
                bundle.record_gap(gap)
            bundle.artifacts = [self.alter_row(row) for row in bundle.artifacts]
            await bundle.finish(self.alter(idle_capture(order, digest)), order.context)

    def kinds(self, order: WorkOrder, gaps: tuple[NotCaptured, ...]) -> list[ArtifactKind]:
        """Return what to store of each container: all that is ordered but for the gaps."""
        missing = {ArtifactKind.CONTEXT, self.leaves_out, *(gap.what for gap in gaps)}
        return [kind for kind in order.artifacts if kind not in missing]


def not_gathered(order: WorkOrder) -> list[NotCaptured]:
    """Return the gaps that the order itself names."""
    return [
        NotCaptured(what="context", reason="NotGathered", message=line)
        for line in order.not_captured
    ]


def progress_line(bundle: BundleWriter) -> bytes:
    """Return what the collector prints after each artifact."""
    meter = bundle.meter
    said = {
        "event": "progress",
        "artifactsDone": meter.artifacts_done,
        "artifactsTotal": 4,
        "bytesRead": meter.bytes_read,
        "bytesStored": meter.bytes_stored,
        "current": meter.current,
    }
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


@dataclass
class Stage:
    """The cluster, the operator's settings, and the worker."""

    cluster: LoopbackCluster
    settings: Settings
    worker: Worker
    access: S3Access
    bucket: str
    public_key: bytes
    kubeconfig: Path

    @asynccontextmanager
    async def operating(self, settings: Settings | None = None) -> AsyncIterator[None]:
        """Run an operator for the block."""
        async with connect(self.kubeconfig) as connection, anyio.create_task_group() as tasks:
            run = partial(operate, connection, settings or self.settings, timing=CALM)
            tasks.start_soon(run)
            yield
            tasks.cancel_scope.cancel()

    def requests(self, *verbs: str) -> dict[str, int]:
        """Count the requests so far, by verb and resource; those about the Lease are left out."""
        counts = self.cluster.records.counts().items()
        return {
            what: count
            for what, count in counts
            if not what.endswith(" leases") and (not verbs or what.split(" ")[0] in verbs)
        }

    def writes(self) -> int:
        """Count the writes so far. A review is made by a POST, and is stored nowhere."""
        made = self.requests("create", "update", "patch", "delete")
        return sum(count for what, count in made.items() if not what.endswith("reviews"))

    def request(self, name: str = "checkpoint-1", /, **spec: Any) -> Document:
        """Create a PodCheckpoint, as `kubectl create` would."""
        body = {
            "apiVersion": "forensics.orkaproj.io/v1alpha1",
            "kind": "PodCheckpoint",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"pod": "web-0", "namespace": "default", **spec},
        }
        return self.cluster.create(body)

    def get(self, name: str = "checkpoint-1") -> Document:
        """Return the PodCheckpoint as it is now."""
        return self.cluster.get("podcheckpoints", name, NAMESPACE)

    async def until(
        self, met: Callable[[Document], object], name: str = "checkpoint-1", within: float = 120
    ) -> Document:
        """Wait until `met` says yes to the PodCheckpoint, and return it."""

        def one_met(items: Mapping[str, Document] | list[Document]) -> object:
            found = items.values() if isinstance(items, Mapping) else items
            return [item for item in found if item["metadata"]["name"] == name and met(item)]

        with anyio.fail_after(within):
            await self.cluster.until("podcheckpoints", one_met, NAMESPACE)
        return self.get(name)

    async def finished(self, name: str = "checkpoint-1", within: float = 120) -> Document:
        """Wait for the end of a checkpoint, and return its status."""
        done = await self.until(
            lambda item: item.get("status", {}).get("phase") in {"Complete", "Failed"},
            name,
            within,
        )
        status: Document = done["status"]
        return status


def condition(status: Document, kind: str) -> Document:
    """Return a condition of a status, or an empty one."""
    found = [one for one in status.get("conditions", []) if one["type"] == kind]
    return found[0] if found else {}


@asynccontextmanager
async def open_stage(
    bucket: str, access: S3Access, folder: Path, **settings: Any
) -> AsyncIterator[Stage]:
    """Open a stage with one running pod, `default/web-0`."""
    private, public = generate_key()
    (folder / "key.pem").write_bytes(private)
    worker = Worker(access)
    async with LoopbackCluster(
        runner=worker, namespaces=("default", NAMESPACE, "forensics-operator")
    ) as cluster:
        cluster.create(await anyio.to_thread.run_sync(crd))
        cluster.seed_pod("web-0")
        cluster.create(collector_secret(access))
        kubeconfig = await cluster.kubeconfig(folder / "kubeconfig")
        yield Stage(
            cluster=cluster,
            settings=make_settings(bucket, access, folder, **settings),
            worker=worker,
            access=access,
            bucket=bucket,
            public_key=public,
            kubeconfig=kubeconfig,
        )


def collector_secret(access: S3Access) -> Document:
    """Return the Secret with the collector's credentials, as an administrator would make it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "collector-s3", "namespace": NAMESPACE},
        "stringData": {
            "AWS_ACCESS_KEY_ID": access.access_key_id,
            "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
        },
    }


def make_settings(bucket: str, access: S3Access, folder: Path, **more: Any) -> Settings:
    """Return settings that allow one bucket and seal with the key in `folder`."""
    rule = {
        "prefix": f"s3://{bucket}",
        "endpoint": access.endpoint_url,
        "credentials": {"secret": "collector-s3"},
    }
    values = {
        "destinations": [rule],
        "defaultDestination": f"s3://{bucket}",
        "signingKey": str(folder / "key.pem"),
        "healthPort": 0,
        "progressSeconds": 0.05,
        "capturesPerNode": 100,
        "collector": {"image": "kube-forensics:test"},
    }
    return Settings.model_validate(values | more)


def timed(stage: Stage, **seconds: float) -> Settings:
    """Return the stage's settings with other waits."""
    waits = {name: timedelta(seconds=value) for name, value in seconds.items()}
    timings = stage.settings.timings.model_copy(update=waits)
    return stage.settings.model_copy(update={"timings": timings})


def reads_of(
    cluster: ClusterConnection, kept_bytes: int = MAX_KEPT_BYTES, retry_read: float = 0.5
) -> Reads:
    """Return an operator's reads of a cluster."""
    return Reads(cluster, Timings().fresh, timedelta(seconds=retry_read), kept_bytes)


def decoded(secret: Document, name: str) -> bytes:
    """Return one value of a Secret."""
    return base64.b64decode(secret["data"][name])
