"""`python -m bench.hold`: from the moment when a deleted pod's evidence is stored until it is gone.

The operator is a process of its own with one rule that holds all pods; the cluster with its pods is
this process, the storage a third one, so all of them share the machine.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import click

from bench.operator import KEEP, OperatorProcess
from bench.operator_world import NAMESPACE, world
from bench.page import GOAL_COLUMNS, Goal, goal, table
from bench.part import part_options, run_part
from bench.sink import RemoteSink, remote_sink
from forensics_core.api.capturerule_crd import capturerule_crd
from forensics_core.api.names import HOLD_FINALIZER
from forensics_core.storage.s3.client import S3Access
from forensics_loopback import LoopbackCluster

PODS, QUICK = 30, 3
KIND = capturerule_crd()
_LIMIT = 2


@click.command()
@part_options("A few pods")
def main(quick: bool, docs: Path | None) -> None:
    """Measure how long a held pod outlives its capture, and write a table."""

    def measure(folder: Path) -> dict[str, str]:
        with remote_sink(KEEP) as sink:
            return blocks(anyio.run(_measure, sink, folder, QUICK if quick else PODS))

    run_part("performance.md", measure, quick=quick, docs=docs)


def blocks(seconds: Sequence[float]) -> dict[str, str]:
    """Return the generated parts of the page by the names of their markers."""
    return {
        "hold-setting": (
            f"Measured on {datetime.now(UTC):%Y-%m-%d} on {len(os.sched_getaffinity(0))} CPUs: "
            f"{len(seconds)} pods, deleted one after the other without a grace period."
        ),
        "hold": table(GOAL_COLUMNS, _goals(seconds)),
    }


def _goals(seconds: Sequence[float]) -> Iterator[list[str]]:
    yield goal(Goal("seconds from `Captured` until a held pod is gone", _LIMIT), max(seconds))
    yield goal(Goal("the same, median", _LIMIT), statistics.median(seconds))


async def _measure(sink: RemoteSink, folder: Path, pods: int) -> list[float]:
    access = S3Access(
        endpoint_url=sink.endpoint,
        region="us-east-1",
        access_key_id="lab",
        secret_access_key="lab",  # noqa: S106
    )
    async with world(access, pods) as cluster:
        cluster.create(KIND)
        cluster.create(_rule())
        kubeconfig = await cluster.kubeconfig(folder / "kubeconfig")
        async with OperatorProcess(sink, folder, kubeconfig).operator(cluster):
            await cluster.until("pods", _all_held, "default")
            return [await _one(cluster, f"web-{number}") for number in range(pods)]


def _rule() -> dict[str, Any]:
    return {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "CaptureRule",
        "metadata": {"name": "deleted", "namespace": NAMESPACE},
        "spec": {
            "namespaces": ["default"],
            "events": ["Deleted"],
            "hold": True,
            "holdSeconds": 600,
            "dedupeSeconds": 0,
            "limits": {"perHour": 1000},
            # More than that the idle worker does not store.
            "template": {"artifacts": ["context"]},
        },
    }


def _listed(found: Any) -> list[dict[str, Any]]:
    return list(found.values() if isinstance(found, dict) else found)


def _all_held(found: Any) -> bool:
    return all(HOLD_FINALIZER in pod["metadata"].get("finalizers", ()) for pod in _listed(found))


async def _one(cluster: LoopbackCluster, name: str) -> float:
    """Delete a pod, and return for how many seconds it outlived its capture."""
    seen = _Seen(name)
    cluster.delete("pods", name, "default", gracePeriodSeconds="0")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.until, "podcheckpoints", seen.captured, NAMESPACE)
        tasks.start_soon(cluster.until, "pods", seen.gone, "default")
    return seen.times["gone"] - seen.times["captured"]


@dataclass
class _Seen:
    """When what was seen first."""

    name: str
    times: dict[str, float] = field(default_factory=dict)

    def captured(self, found: Any) -> bool:
        """Note whether the pod may be killed."""
        return self._note("captured", any(self._may_go(one) for one in _listed(found)))

    def gone(self, found: Any) -> bool:
        """Note whether the pod is no more."""
        names = {pod["metadata"]["name"] for pod in _listed(found)}
        return self._note("gone", self.name not in names)

    def _may_go(self, checkpoint: dict[str, Any]) -> bool:
        conditions = checkpoint.get("status", {}).get("conditions", ())
        return checkpoint["spec"]["pod"] == self.name and any(
            (one["type"], one["status"]) == ("Captured", "True") for one in conditions
        )

    def _note(self, what: str, met: bool) -> bool:
        if met:
            self.times.setdefault(what, time.monotonic())
        return met


if __name__ == "__main__":
    main()
