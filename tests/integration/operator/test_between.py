"""What becomes of evidence that is tampered with between being found and being sealed."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from forensics_core.bundle.seal import generate_key
from forensics_core.bundle.verify import verify
from forensics_core.errors import VerificationError
from forensics_core.operator.evidence.seal import check_seal
from forensics_core.storage.locate import S3Location, parse_location
from forensics_core.storage.s3.client import s3_client
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.storage import open_storage, read_small
from forensics_loopback import ContainerExit, RunningPod
from tests.integration.operator.stage import NAMESPACE, Document, Stage, condition
from tests.integration.operator.test_trouble import after_storing, remove, store


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


@pytest.mark.parametrize("again", ["the same", "another"])
async def test_what_is_added_before_the_seal_is_not_what_is_sealed(
    versioned_stage: Stage, tmp_path: Path, again: str
) -> None:
    """A stolen key that may only add: its versions lie on top of the evidence."""
    stage = versioned_stage
    status = await found_but_not_sealed(stage, tmp_path)
    for name in ("manifest.json", "SHA256SUMS", "containers/app/inspect.json", "context/pod.yaml"):
        data = await fetched(stage, status, name) if again == "the same" else b"{}"
        await store(stage, status, name, data)
    async with stage.operating():
        ended = await stage.finished()
    assert ended["phase"] == "Complete" and ended["sealed"] is True
    assert ended["manifestSHA256"] == status["manifestSHA256"]
    verification = await verify(status["location"], key=stage.public_key, access=stage.access)
    assert verification.problems == ()


async def test_a_manifest_added_before_the_operator_looks_is_not_taken(
    versioned_stage: Stage,
) -> None:
    stage = versioned_stage

    async def tamper(status: Document) -> None:
        await store(stage, status, "manifest.json", b"{}")

    after_storing(stage, tamper)
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert status["phase"] == "Complete"


async def test_a_seal_that_is_added_on_top_of_ours_is_none(
    versioned_stage: Stage, tmp_path: Path
) -> None:
    stage = versioned_stage
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    await store(stage, status, "manifest.sigstore.json", b"{}")
    manifest = await fetched(stage, status, "manifest.json")
    place = parse_location(status["location"])
    assert isinstance(place, S3Location)
    async with s3_client(stage.access) as client:
        bundle = S3Storage(client, place, stage.access)
        await check_seal(bundle, manifest, (tmp_path / "key.pem").read_bytes())
        with pytest.raises(VerificationError, match="not made with this key"):
            await check_seal(bundle, manifest, generate_key()[0])


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
    async with open_storage(status["location"], access=stage.access) as bundle:
        return await read_small(bundle, name, limit=1024 * 1024)


async def test_a_cancelled_capture_that_left_nothing_says_so(stage: Stage) -> None:
    started = anyio.Event()

    async def stopped(pod: RunningPod) -> ContainerExit | None:
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
