"""What a node that holds its collector's credentials may do before anything is vouched for."""

from __future__ import annotations

import pytest

from forensics_core.bundle.layout import SEAL
from forensics_core.bundle.manifest import Artifact, NotCaptured
from forensics_core.storage.objects import MAX_VERSIONS
from forensics_core.storage.s3.client import s3_client
from forensics_core.storage.storage import open_storage
from forensics_loopback import ContainerExit, RunningPod
from lab.idle import order_of
from tests.integration.operator.stage import Document, Stage, condition
from tests.integration.operator.test_trust import put


async def refused(stage: Stage) -> Document:
    """Return the status of a checkpoint that failed, and was never called captured."""
    stage.request()
    seen: set[str] = set()

    def note(item: Document) -> bool:
        seen.add(condition(item.get("status", {}), "Captured").get("status", ""))
        return bool(item.get("status", {}).get("phase") in {"Failed", "Complete"})

    async with stage.operating():
        status: Document = (await stage.until(note))["status"]
    assert status["phase"] == "Failed", status["conditions"]
    assert "True" not in seen
    return condition(status, "Failed")


async def test_a_seal_that_the_node_wrote_stops_the_operator_before_the_pod_may_go(
    stage: Stage,
) -> None:
    async def sealed_by_the_node(pod: RunningPod) -> ContainerExit | None:
        order, _ = order_of(pod)
        await put(stage, f"{order.destination}/{order.bundle}", SEAL, b"{}")
        return None

    stage.worker.before = sealed_by_the_node
    failed = await refused(stage)
    assert failed["reason"] == "NotSealed"
    assert f"{SEAL} was written before" in failed["message"]


async def test_a_capture_of_nothing_does_not_let_the_pod_go(stage: Stage) -> None:
    stage.worker.gaps = tuple(
        NotCaptured(what=kind, container="app", reason="Because", message="no time")
        for kind in ("inspect", "diff", "filesystem", "logs", "processes", "network")
    )
    failed = await refused(stage)
    assert failed["reason"] == "NothingCaptured"
    assert "inspect (no time)" in failed["message"]


@pytest.mark.parametrize(
    ("version", "reason", "why"),
    [
        ("../..", "NotSealed", "cannot be stored there"),
        ("another", "NotSealed", "is not stored"),
        ("x" * 3_000_000, "ManifestUnreadable", "versionId"),
    ],
)
async def test_a_version_that_was_never_given_is_refused_at_once(
    versioned_stage: Stage, version: str, reason: str, why: str
) -> None:
    """A store that closes the connection on it would be taken for one that is away."""

    def of_that_version(row: Artifact) -> Artifact:
        return row.model_copy(update={"version_id": version}) if "inspect" in row.name else row

    versioned_stage.worker.alter_row = of_that_version
    failed = await refused(versioned_stage)
    assert failed["reason"] == reason and why in failed["message"]


async def test_what_nobody_asked_for_is_not_held_of_a_listing(versioned_stage: Stage) -> None:
    home = f"s3://{versioned_stage.bucket}/cases/1"
    for number in range(3):
        await put(versioned_stage, home, f"junk/{number}", b"x")
    async with s3_client(versioned_stage.access) as client:
        for number in range(MAX_VERSIONS + 2):
            await client.put_object(
                Body=b"x" * number, Bucket=versioned_stage.bucket, Key="cases/1/manifest.json"
            )
    async with open_storage(home, access=versioned_stage.access) as store:
        found = await store.list(only={"manifest.json"})
        whole = await store.list()
    assert {entry.name for entry in found} == {"manifest.json"}
    assert [entry.size for entry in found] == list(range(MAX_VERSIONS))
    assert len(whole) == MAX_VERSIONS + 5


async def test_a_place_that_is_filled_up_is_refused(
    stage: Stage,
) -> None:
    async def fills_up(pod: RunningPod) -> ContainerExit | None:
        order, _ = order_of(pod)
        async with s3_client(stage.access) as client:
            for number in range(20):
                key = f"{order.bundle}/junk/{number}"
                await client.put_object(Body=b"x", Bucket=stage.bucket, Key=key)
        return None

    (rule,) = stage.settings.destinations
    few = rule.model_copy(update={"max_objects": 20})
    stage.settings = stage.settings.model_copy(update={"destinations": (few,)})
    stage.worker.before = fills_up
    failed = await refused(stage)
    assert failed["reason"] == "NotSealed" and "holds more than 20 objects" in failed["message"]
