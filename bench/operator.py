"""`python -m bench.operator`: what the operator costs, with a worker that does nothing.

It runs as a process of its own, as in a cluster; the cluster and the workers are this process, the
storage is a third one, so all of them share the machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import anyio.lowlevel
import click
import yaml
from anyio import to_thread

from bench.operator_page import results
from bench.operator_world import NAMESPACE, PODS_PER_NODE, JsonObject, checkpoint, world
from bench.page import PartResult
from bench.part import part_options, run_part
from bench.processes import cpu_seconds
from bench.sink import RemoteSink, remote_sink
from bench.stall import asking
from forensics_core.bundle.seal import generate_key
from forensics_core.storage.s3.client import S3Access
from forensics_loopback import READS, WATCHES, LoopbackCluster
from lab.images import MiB
from lab.process import LabError, free_ports, stop, tail

KEEP = 1 * MiB
"""Bytes up to which the storage keeps objects: context, manifests and seals are smaller."""
SETTLED = 2.0
"""Seconds without a request after which the operator is taken to be at rest."""


@dataclass(frozen=True, slots=True)
class OperatorLoad:
    """How much is measured."""

    busy: int = 1000
    """PodCheckpoints that are worked through."""
    finished: int = 5000
    """PodCheckpoints that are there at rest."""
    rest: float = 60.0
    """Seconds at rest."""
    listed: int = 10_000
    """PodCheckpoints that are there when it starts, while others ask how it is."""


QUICK = OperatorLoad(busy=20, finished=100, rest=3.0, listed=150)


@dataclass(frozen=True, slots=True)
class Busy:
    """Working through many PodCheckpoints that were made at once."""

    count: int
    seconds: float
    cpu: float
    """Seconds of CPU that the operator used."""
    requests: dict[str, int]
    """By verb and resource, without those about the Lease."""
    peak: int
    """Bytes: the operator's highest resident set."""
    objects: int
    """Stored in S3 altogether."""
    before: int = 0
    """Bytes: its resident set before there was anything to do."""

    def count_of(self, *, reads: bool) -> int:
        """Count reads or writes; watches are neither."""
        verbs = {what: what.split(" ")[0] for what in self.requests}
        return sum(
            count
            for what, count in self.requests.items()
            if verbs[what] not in WATCHES and (verbs[what] in READS) == reads
        )


@dataclass(frozen=True, slots=True)
class IdleMeasurement:
    """Many finished PodCheckpoints, and nothing to do."""

    count: int
    seconds: float
    requests: int
    """But watches and those about the Lease."""
    resident: int
    """Bytes: the operator's resident set at the end."""
    peak: int
    answers: Sequence[float] = ()
    """Milliseconds that `/healthz` took each time, while `listed` PodCheckpoints were listed."""
    listed: int = 0


@click.command()
@part_options("A few PodCheckpoints")
def main(quick: bool, docs: Path | None) -> None:
    """Measure the operator, and write a table."""
    load = QUICK if quick else OperatorLoad()

    def measure(folder: Path) -> list[PartResult]:
        with remote_sink(KEEP) as sink:
            return results(*anyio.run(_measure, sink, folder, load))

    run_part("performance.md", measure, quick=quick, docs=docs)


async def _measure(
    sink: RemoteSink, folder: Path, size: OperatorLoad
) -> tuple[Busy, IdleMeasurement]:
    access = S3Access(
        endpoint_url=sink.endpoint,
        region="us-east-1",
        access_key_id="lab",
        secret_access_key="lab",  # noqa: S106
    )
    async with world(access, size.busy) as cluster:
        kubeconfig = await cluster.kubeconfig(folder / "kubeconfig")
        start = OperatorProcess(sink, folder, kubeconfig)
        async with start.operator(cluster) as pid:
            busy = await _work(cluster, sink, pid, size.busy)
        _add_finished(cluster, size.finished - size.busy)
        async with start.operator(cluster) as pid:
            rest = await _rest(cluster, pid, size)
        _add_finished(cluster, size.listed - size.finished, "older")
        (port,) = free_ports(1)
        asked = replace(start, settings={"healthPort": port})
        async with asking(port) as answers, asked.operator(cluster):
            pass  # It leads once it has listed all, and looked at each.
        return busy, replace(rest, answers=answers, listed=size.listed)


async def _work(cluster: LoopbackCluster, sink: RemoteSink, pid: int, count: int) -> Busy:
    cluster.records.clear()
    before, cpu, began = memory_of(pid, "VmRSS"), cpu_seconds(pid), time.monotonic()
    for number in range(count):
        cluster.create(checkpoint(number))
        await anyio.lowlevel.checkpoint()
    while _finished(cluster) < count:  # noqa: ASYNC110 # looking at each change would cost more
        await anyio.sleep(0.1)
    seconds = time.monotonic() - began
    await _settle(cluster)
    failed = [item for item in cluster.list("podcheckpoints") if not item["status"].get("sealed")]
    if failed:
        raise LabError(f"{len(failed)} were not sealed, such as: {failed[0]['status']}")
    counted = await to_thread.run_sync(sink.counts)
    return Busy(
        count=count,
        seconds=seconds,
        cpu=cpu_seconds(pid) - cpu,
        requests=_requests(cluster),
        peak=memory_of(pid, "VmHWM"),
        objects=counted.objects,
        before=before,
    )


def _finished(cluster: LoopbackCluster) -> int:
    phases = (item.get("status", {}).get("phase") for item in cluster.list("podcheckpoints"))
    return sum(phase in {"Complete", "Failed"} for phase in phases)


async def _settle(cluster: LoopbackCluster) -> None:
    """Wait until nothing has been asked for a while."""
    quiet_since, before = time.monotonic(), _requests(cluster)
    while time.monotonic() - quiet_since < SETTLED:
        await anyio.sleep(0.1)
        now = _requests(cluster)
        if now != before:
            quiet_since, before = time.monotonic(), now


def _requests(cluster: LoopbackCluster) -> dict[str, int]:
    """Return the counts by verb and resource, without those about the Lease."""
    counts = cluster.records.counts().items()
    return {what: count for what, count in counts if not what.endswith(" leases")}


def _add_finished(cluster: LoopbackCluster, count: int, name: str = "old") -> None:
    """Add copies of what the operator has finished."""
    done = cluster.get("podcheckpoints", "checkpoint-0", NAMESPACE)
    for number in range(count):
        body = checkpoint(number)
        body["metadata"] |= {
            "name": f"{name}-{number}",
            "finalizers": done["metadata"]["finalizers"],
        }
        cluster.create(body)
        change: JsonObject = {"status": done["status"]}
        cluster.patch("podcheckpoints", f"{name}-{number}", change, NAMESPACE)


async def _rest(cluster: LoopbackCluster, pid: int, size: OperatorLoad) -> IdleMeasurement:
    await _settle(cluster)
    cluster.records.clear()
    await anyio.sleep(size.rest)
    made = {what: n for what, n in _requests(cluster).items() if what.split(" ")[0] != "watch"}
    return IdleMeasurement(
        count=len(cluster.list("podcheckpoints")),
        seconds=size.rest,
        requests=sum(made.values()),
        resident=memory_of(pid, "VmRSS"),
        peak=memory_of(pid, "VmHWM"),
    )


@dataclass(frozen=True, slots=True)
class OperatorProcess:
    """What it takes to start an operator."""

    sink: RemoteSink
    folder: Path
    kubeconfig: Path
    captures_per_node: int = PODS_PER_NODE
    settings: Mapping[str, object] = field(default_factory=dict)
    """What is set besides."""

    @asynccontextmanager
    async def operator(self, cluster: LoopbackCluster) -> AsyncIterator[int]:
        """Run an operator for the block, once it leads; yields its process's number."""
        cluster.records.clear()
        with self._process() as process:
            while not cluster.records.watches:
                if process.poll() is not None:
                    raise LabError(f"The operator ended: {tail(self.folder / 'log')}")
                await anyio.sleep(0.05)
            await _settle(cluster)
            yield process.pid
            process.terminate()
            while process.poll() is None:  # noqa: ASYNC110 # it asks the cluster here for leave
                await anyio.sleep(0.05)

    @contextmanager
    def _process(self) -> Iterator[subprocess.Popen[bytes]]:
        program = Path(sys.executable).with_name("forensics-operator")
        options: list[str | Path] = ["--config", self._settings(), "--kubeconfig", self.kubeconfig]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "--log-level", "warning", *options],
                env={**os.environ, **self.sink.env},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            stop(process)

    def _settings(self) -> Path:
        key, path = self.folder / "key.pem", self.folder / "settings.yaml"
        key.write_bytes(generate_key()[0])
        rule = {
            "prefix": "s3://bench",
            "endpoint": self.sink.endpoint,
            "credentials": {"node": True},
        }
        settings = {
            "destinations": [rule],
            "defaultDestination": "s3://bench",
            "signingKey": str(key),
            "healthPort": 0,
            "capturesPerNode": self.captures_per_node,
            "collector": {"image": "kube-forensics:bench"},
        }
        path.write_text(yaml.safe_dump({**settings, **self.settings}))
        return path


def memory_of(pid: int, what: str) -> int:
    """Return one of the kernel's counts of a process's memory, in bytes: proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{what}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
