"""What a hostile node, or a hostile request, may try before anything is sealed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from forensics_core.bundle.layout import is_of_attempt
from forensics_core.bundle.manifest import Capture
from forensics_core.bundle.verify import verify
from forensics_core.storage.storage import open_destination, open_storage, read_small
from forensics_loopback import ContainerExit, RunningPod
from tests.bundles import of_order
from tests.integration.operator.stage import NAMESPACE, Document, Stage, condition

FORGED = b"kind: Pod # FORGED BY THE NODE"


async def put(stage: Stage, url: str, name: str, data: bytes) -> None:
    async with (
        open_destination(url, access=stage.access) as destination,
        destination.create(name) as writer,
    ):
        await writer.write(data)
        await writer.commit()


def fix_location(stage: Stage, url: str) -> None:
    """Let a checkpoint have its location already, as after a crash of the operator."""
    stage.cluster.patch(
        "podcheckpoints",
        "checkpoint-1",
        {"status": {"phase": "Pending", "location": url}},
        NAMESPACE,
    )


async def test_context_that_somebody_else_wrote_is_never_taken(stage: Stage) -> None:
    request = stage.request()
    uid = request["metadata"]["uid"]
    guessed = (
        f"s3://{stage.bucket}/forensics/20260801T101112Z_default_web-0_{uid[:8]}-1-{'0' * 16}/"
    )
    await put(stage, guessed, "context/pod.yaml", FORGED)
    fix_location(stage, guessed)
    async with stage.operating():
        status = await stage.finished()
    assert (status["phase"], status["sealed"]) == ("Complete", True), status["conditions"]
    assert status["location"] != guessed and is_of_attempt(status["location"], 1)
    verification = await verify(status["location"], key=stage.public_key, access=stage.access)
    assert verification.problems == ()


async def test_the_next_location_cannot_be_known_from_the_last(stage: Stage) -> None:
    seen = []

    async def first_dies(pod: RunningPod) -> ContainerExit | None:
        seen.append(stage.get()["status"]["location"])
        return ContainerExit(exit_code=1) if len(seen) == 1 else None

    stage.worker.before = first_dies
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert status["phase"] == "Complete"
    tails = [location.rstrip("/").rpartition("-")[2] for location in seen]
    assert len(set(tails)) == 2 and {len(tail) for tail in tails} == {16}


def of_another_pod(capture: Capture) -> Capture:
    assert capture.order.pod is not None
    return of_order(capture, pod=capture.order.pod.model_copy(update={"uid": "another"}))


def of_1999(capture: Capture) -> Capture:
    return capture.model_copy(update={"started_at": datetime(1999, 1, 1, tzinfo=UTC)})


@pytest.mark.parametrize(
    ("alter", "why"),
    [(of_another_pod, "pod differs"), (of_1999, "startedAt is 1999-01-01")],
)
async def test_nothing_is_called_captured_before_it_was_compared(
    stage: Stage, alter: Any, why: str
) -> None:
    stage.worker.alter = alter
    stage.request()
    seen: set[str] = set()

    def note(item: Document) -> bool:
        seen.add(condition(item.get("status", {}), "Captured").get("status", ""))
        return bool(item.get("status", {}).get("phase") == "Failed")

    async with stage.operating():
        status = (await stage.until(note))["status"]
    assert condition(status, "Failed")["reason"] == "NotSealed"
    assert why in condition(status, "Failed")["message"]
    assert "False" in seen and "True" not in seen
    events = stage.cluster.list("events", NAMESPACE)
    assert not [event for event in events if event["reason"] == "Captured"]
    assert condition(status, "Captured")["message"].startswith("Do not kill the pod")


@pytest.mark.parametrize("below", ["", "/deeper/still"])
async def test_evidence_never_goes_into_somebodys_bundle(stage: Stage, below: str) -> None:
    stage.request("victim")
    async with stage.operating():
        victim = await stage.finished("victim")
        inside = victim["location"].rstrip("/") + below
        stage.request("attack", destination=inside, subpath="")
        status = await stage.finished("attack")
    assert condition(status, "Failed")["reason"] == "DestinationIsBundle"
    verification = await verify(victim["location"], key=stage.public_key, access=stage.access)
    assert verification.problems == ()


async def test_evidence_never_goes_into_a_bundle_that_has_another_name(stage: Stage) -> None:
    home = f"s3://{stage.bucket}/cases/42"
    stage.request("victim")
    async with stage.operating():
        victim = await stage.finished("victim")
        async with open_storage(victim["location"], access=stage.access) as store:
            for name in ("manifest.json", "manifest.sigstore.json"):
                await put(stage, home, name, await read_small(store, name, limit=2**20))
        stage.request(destination=home, subpath="more")
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "DestinationIsBundle"


async def test_what_only_looks_like_a_bundle_stops_no_capture(stage: Stage) -> None:
    """Whoever may add objects, such as a collector, could otherwise have all of them refused."""
    above = f"s3://{stage.bucket}/forensics"
    await put(stage, above, "manifest.json", b"{}")
    await put(stage, above, "manifest.sigstore.json", b"{}")
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert status["phase"] == "Complete"


async def test_nobody_locks_evidence_for_longer_than_the_settings_allow(stage: Stage) -> None:
    stage.request(retention={"mode": "Compliance", "days": 36500})
    async with stage.operating():
        status = await stage.finished()
    failed = condition(status, "Failed")
    assert failed["reason"] == "RetentionTooLong" and "3650 days at most" in failed["message"]
