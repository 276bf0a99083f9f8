"""The end of a bundle: whoever is cancelled in the midst of it learns what became of it."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from forensics_core.bundle.writer import BundleWriter, FinishedBundle
from forensics_core.storage.locate import S3Location
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.storage import open_s3
from lab.faults import Misbehaviour, StoreFault
from lab.sink import StoreSink
from tests.bundles import capture
from tests.waiting import time_passes


def access(sink: StoreSink) -> S3Access:
    return S3Access(
        endpoint_url=sink.endpoint,
        region=sink.env["AWS_REGION"],
        access_key_id=sink.env["AWS_ACCESS_KEY_ID"],
        secret_access_key=sink.env["AWS_SECRET_ACCESS_KEY"],
    )


async def finish_cancelled(
    sink: StoreSink, finished: list[FinishedBundle], *, closing: float = 30.0
) -> bool:
    """Finish a bundle, cancelled once its manifest is on the way; return whether that was heard."""
    async with (
        open_s3(S3Location("cases", "p"), access(sink)) as destination,
        anyio.create_task_group() as tasks,
    ):

        async def finish() -> None:
            finished.append(await BundleWriter(destination, closing=closing).finish(capture()))
            await anyio.lowlevel.checkpoint()

        tasks.start_soon(finish)
        while not sink.count("PutObject", "manifest.json"):  # noqa: ASYNC110  # a thread's doing
            await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    sink.stopping.set()
    await time_passes(0.2)
    return tasks.cancel_scope.cancelled_caught


async def test_a_manifest_that_is_on_its_way_makes_the_bundle_whole(sink: StoreSink) -> None:
    sink.faults.add(StoreFault(Misbehaviour.LATE, "PutObject", key="manifest.json", delay=1.0))
    finished: list[FinishedBundle] = []
    assert await finish_cancelled(sink, finished)
    assert [one.manifest.name for one in finished] == ["manifest.json"]
    assert sink.objects["cases/p/manifest.json"] == finished[0].manifest.size


async def test_a_manifest_that_does_not_arrive_is_given_up(
    sink: StoreSink,
) -> None:
    sink.faults.add(StoreFault(Misbehaviour.HANG, "PutObject", key="manifest.json"))
    finished: list[FinishedBundle] = []
    assert await finish_cancelled(sink, finished, closing=0.3)
    assert not finished and "cases/p/manifest.json" not in sink.objects
