"""What becomes of evidence that is tampered with between being found and being sealed."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from forensics_core.evidence.store import open_store, read_small
from forensics_core.testing.runner import Outcome, RunningPod
from tests.integration.operator.stage import NAMESPACE, Document, Stage, condition
from tests.integration.operator.test_trouble import remove, store


async def found_but_not_sealed(stage: Stage, folder: Path) -> Document:
    """Run an operator whose key is unusable until it has found the manifest."""
    key = folder / "key.pem"
    good = key.read_bytes()
    key.write_bytes(b"no key")
    stage.request()
    async with stage.operating():
        found = await stage.until(lambda item: item.get("status", {}).get("phase") == "Sealing")
    key.write_bytes(good)
    status: Document = found["status"]
    return status


@pytest.mark.parametrize(
    ("manifest", "reason", "message"),
    [
        (None, "ManifestLost", "is not stored any more"),
        (b"{}", "ManifestLost", "It was replaced"),
    ],
)
async def test_a_manifest_that_goes_is_said_to_be_lost(
    stage: Stage, tmp_path: Path, manifest: bytes | None, reason: str, message: str
) -> None:
    status = await found_but_not_sealed(stage, tmp_path)
    if manifest is None:
        await remove(stage, status, "manifest.json")
    else:
        await store(stage, status, "manifest.json", manifest)
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == reason
    assert message in condition(status, "Failed")["message"]


async def test_an_order_that_is_taken_away_leaves_nothing_to_check_against(
    stage: Stage, tmp_path: Path
) -> None:
    status = await found_but_not_sealed(stage, tmp_path)
    stage.cluster.delete("secrets", status["jobName"], NAMESPACE)
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "OrderLost"


async def test_without_its_order_the_seal_of_another_bundle_is_none(
    stage: Stage, tmp_path: Path
) -> None:
    """Whoever may write there can copy a sealed bundle, but not make it this attempt's."""
    stage.request("checkpoint-2")
    async with stage.operating():
        other = await stage.finished("checkpoint-2")
    assert other["sealed"] is True
    status = await found_but_not_sealed(stage, tmp_path)
    for name in ("manifest.json", "manifest.sigstore.json"):
        await store(stage, status, name, await fetched(stage, other, name))
    stage.cluster.delete("secrets", status["jobName"], NAMESPACE)
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "OrderLost"


async def fetched(stage: Stage, status: Document, name: str) -> bytes:
    """Return an object of a bundle."""
    async with open_store(status["location"], access=stage.access) as bundle:
        return await read_small(bundle, name, limit=1024 * 1024)


async def test_a_cancelled_capture_that_left_nothing_says_so(stage: Stage) -> None:
    started = anyio.Event()

    async def stopped(pod: RunningPod) -> Outcome | None:
        started.set()
        await anyio.sleep_forever()
        return None

    stage.worker.before = stopped
    stage.request()
    async with stage.operating():
        await started.wait()
        stage.cluster.patch("podcheckpoints", "checkpoint-1", {"spec": {"cancel": True}}, NAMESPACE)
        status = await stage.finished()
        with anyio.fail_after(10):
            await stage.cluster.until("secrets", lambda left: len(list(left)) == 1, NAMESPACE)
    assert condition(status, "Failed")["reason"] == "Cancelled"
