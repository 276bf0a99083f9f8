"""Uploads against an S3 endpoint that misbehaves: each fault ends in the object, or in one clear
error, and never leaves an upload behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from forensics_core.api.order import Encryption, Retention, RetentionMode
from forensics_core.errors import (
    AccessDenied,
    BucketNotFound,
    DestinationError,
    DestinationFull,
    DestinationUnreachable,
    ObjectExists,
    ObjectLockMissing,
    ObjectTooLarge,
    UsageError,
)
from forensics_core.storage.budget import MIB, ByteBudget
from forensics_core.storage.locate import S3Location
from forensics_core.storage.objects import StoredObject
from forensics_core.storage.s3 import parts
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.storage import S3Storage, open_s3
from lab.faults import Misbehaviour, StoreFault
from lab.sink import StoreSink
from tests.waiting import time_passes

SMALL, LARGE = 1, 20
"""MiB: one PUT, and three parts."""


def access(
    sink: StoreSink,
    *,
    progress_timeout: float = 20.0,
    attempts: int = 4,
    owner: str = "",
    **more: Any,
) -> S3Access:
    return S3Access(
        endpoint_url=sink.endpoint,
        region=sink.env["AWS_REGION"],
        access_key_id=sink.env["AWS_ACCESS_KEY_ID"],
        secret_access_key=sink.env["AWS_SECRET_ACCESS_KEY"],
        expected_bucket_owner=owner or None,
        progress_timeout=progress_timeout,
        attempts=attempts,
        **more,
    )


@pytest.fixture
async def place(sink: StoreSink) -> AsyncIterator[S3Storage]:
    async with open_s3(S3Location("cases", "p"), access(sink)) as destination:
        yield destination


@asynccontextmanager
async def hung_up_on(sink: StoreSink) -> AsyncIterator[None]:
    """Let the server drop the connections that it kept waiting, while the loop still runs."""
    yield
    sink.stopping.set()
    await time_passes(0.2)


async def store(place: S3Storage, size: int, name: str = "x") -> StoredObject:
    async with place.create(name) as writer:
        for _ in range(size):
            await writer.write(bytes(MIB))
        return await writer.commit()


async def test_small_objects_take_one_request(place: S3Storage, sink: StoreSink) -> None:
    stored = await store(place, SMALL)
    assert (stored.size, sink.count("PutObject"), sink.count("UploadPart")) == (MIB, 1, 0)
    headers = sink.sent("PutObject")[0].headers
    assert headers["if-none-match"] == "*"
    assert "x-amz-acl" not in headers, "only AWS gets one unasked"
    assert headers["x-amz-checksum-crc64nvme"] == stored.crc64nvme


async def test_large_objects_go_in_parts_and_are_made_visible_once(
    place: S3Storage, sink: StoreSink
) -> None:
    stored = await store(place, LARGE)
    assert stored.size == LARGE * MIB
    sizes = sorted(request.size for request in sink.sent("UploadPart"))
    assert sizes == [4 * MIB, 8 * MIB, 8 * MIB]
    create = sink.sent("CreateMultipartUpload")[0].headers
    assert create["x-amz-checksum-algorithm"] == "CRC64NVME"
    assert create["x-amz-checksum-type"] == "FULL_OBJECT"
    complete = sink.sent("CompleteMultipartUpload")[0].headers
    assert complete["if-none-match"] == "*"
    assert complete["x-amz-mp-object-size"] == str(LARGE * MIB)
    assert complete["x-amz-checksum-crc64nvme"] == stored.crc64nvme
    assert sink.count("AbortMultipartUpload") == 0


async def test_locks_keys_and_owners_are_asked_for_on_every_object(sink: StoreSink) -> None:
    wanted = access(sink, owner="123456789012")
    retention = Retention(mode=RetentionMode.COMPLIANCE, days=3, legal_hold=True)
    async with open_s3(
        S3Location("cases"), wanted, retention=retention, encryption=Encryption(kms_key_id="key-1")
    ) as place:
        assert place.url == "s3://cases/"
        await store(place, SMALL, "small")
        await store(place, LARGE, "large")
    for operation in ("PutObject", "CreateMultipartUpload"):
        headers = sink.sent(operation)[0].headers
        assert headers["x-amz-object-lock-mode"] == "COMPLIANCE"
        assert headers["x-amz-object-lock-retain-until-date"]
        assert headers["x-amz-object-lock-legal-hold"] == "ON"
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
    every = [sink.sent(name)[0] for name in ("PutObject", "UploadPart", "CompleteMultipartUpload")]
    assert {one.headers["x-amz-expected-bucket-owner"] for one in every} == {"123456789012"}


PASSING = [
    StoreFault(Misbehaviour.REFUSE, "UploadPart", part=2, status=503, code="SlowDown", times=2),
    StoreFault(Misbehaviour.REFUSE, "UploadPart", part=1, status=500, code="InternalError"),
    StoreFault(Misbehaviour.RESET, "UploadPart", part=2, after=3 * MIB),
    StoreFault(Misbehaviour.LOSE_ANSWER, "UploadPart", part=3),
    StoreFault(Misbehaviour.REFUSE, "CreateMultipartUpload", status=503),
    StoreFault(Misbehaviour.ERROR_IN_200, "CompleteMultipartUpload", code="InternalError"),
    StoreFault(
        Misbehaviour.REFUSE,
        "CompleteMultipartUpload",
        status=409,
        code="ConditionalRequestConflict",
    ),
    StoreFault(Misbehaviour.LOSE_ANSWER, "CompleteMultipartUpload"),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: f"{fault.action}-{fault.operation}")
async def test_what_passes_is_tried_again(
    place: S3Storage, sink: StoreSink, fault: StoreFault
) -> None:
    sink.faults.add(fault)
    stored = await store(place, LARGE)
    assert stored.size == LARGE * MIB
    assert sink.count("AbortMultipartUpload") == 0


@pytest.mark.parametrize("after", [0, MIB], ids=["accepting", "reading"])
async def test_a_server_that_never_answers_is_left_after_a_while(
    sink: StoreSink, after: int
) -> None:
    sink.faults.add(StoreFault(Misbehaviour.HANG, "UploadPart", after=after, times=None))
    async with (
        hung_up_on(sink),
        open_s3(S3Location("cases"), access(sink, progress_timeout=0.5, attempts=2)) as place,
    ):
        with pytest.raises(DestinationUnreachable, match="stopped answering"):
            await store(place, LARGE)
    assert sink.count("AbortMultipartUpload") == 1


async def test_a_slow_server_is_waited_for_as_long_as_it_reads(sink: StoreSink) -> None:
    """Each slice that is taken counts as progress, though the whole takes longer."""
    sink.faults.add(StoreFault(Misbehaviour.SLOW, "UploadPart", part=1, rate=MIB))
    async with open_s3(S3Location("cases"), access(sink, progress_timeout=6, attempts=1)) as place:
        stored = await store(place, LARGE)
    assert stored.size == LARGE * MIB


FATAL = [
    (StoreFault(Misbehaviour.REFUSE, status=403, code="AccessDenied", times=None), AccessDenied),
    (
        StoreFault(Misbehaviour.REFUSE, status=403, code="InvalidAccessKeyId", times=None),
        AccessDenied,
    ),
    (StoreFault(Misbehaviour.REFUSE, status=404, code="NoSuchBucket", times=None), BucketNotFound),
    (
        StoreFault(Misbehaviour.REFUSE, status=400, code="InvalidBucketState", times=None),
        ObjectLockMissing,
    ),
    (
        StoreFault(Misbehaviour.REFUSE, status=507, code="QuotaExceeded", times=None),
        DestinationFull,
    ),
    (StoreFault(Misbehaviour.REFUSE, status=503, times=None), DestinationUnreachable),
    (
        StoreFault(Misbehaviour.REFUSE, status=400, code="PermanentRedirect", times=None),
        DestinationError,
    ),
    (
        StoreFault(Misbehaviour.REFUSE, status=400, code="EntityTooLarge", times=None),
        DestinationError,
    ),
    (
        StoreFault(Misbehaviour.REFUSE, status=412, code="PreconditionFailed", times=None),
        ObjectExists,
    ),
]


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(("fault", "error"), FATAL, ids=lambda value: getattr(value, "code", ""))
async def test_what_does_not_pass_is_explained(
    sink: StoreSink, fault: StoreFault, error: type[DestinationError], size: int
) -> None:
    sink.faults.add(fault)
    async with open_s3(S3Location("cases"), access(sink, attempts=2)) as place:
        with pytest.raises(error) as caught:
            await store(place, size)
    assert type(caught.value) is error
    assert caught.value.hint


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
async def test_a_failed_upload_is_aborted(
    place: S3Storage, sink: StoreSink, operation: str
) -> None:
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, operation, status=403, code="AccessDenied"))
    with pytest.raises(AccessDenied):
        await store(place, LARGE)
    assert sink.count("AbortMultipartUpload") == 1


async def test_a_failing_abort_does_not_hide_the_cause(place: S3Storage, sink: StoreSink) -> None:
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "UploadPart", status=403, code="AccessDenied"))
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "AbortMultipartUpload", status=500, times=None))
    with pytest.raises(AccessDenied):
        await store(place, LARGE)


async def test_an_abort_is_tried_again(place: S3Storage, sink: StoreSink) -> None:
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "UploadPart", status=403, code="AccessDenied"))
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "AbortMultipartUpload", status=503, times=2))
    with pytest.raises(AccessDenied):
        await store(place, LARGE)
    assert [one.status for one in sink.sent("AbortMultipartUpload")] == [503, 503, 204]


async def test_a_lock_that_is_refused_without_a_word_is_explained(sink: StoreSink) -> None:
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, status=400, code="InvalidRequest", times=None))
    retention = Retention(legal_hold=True)
    async with open_s3(S3Location("cases"), access(sink), retention=retention) as place:
        for size in (SMALL, LARGE):
            with pytest.raises(ObjectLockMissing, match="no Object Lock"):
                await store(place, size)
    async with open_s3(S3Location("cases"), access(sink)) as place:
        with pytest.raises(DestinationError, match="answered 400 InvalidRequest"):
            await store(place, SMALL)


async def test_objects_that_wait_for_each_other_do_not_wait_for_memory(sink: StoreSink) -> None:
    """The index of an archive fills as the archive does, and neither may wait for the other."""
    async with (
        open_s3(S3Location("cases"), access(sink), budget=ByteBudget(8 * MIB)) as place,
        place.create("index") as index,
        place.create("archive") as archive,
    ):
        with anyio.fail_after(15):
            for _ in range(LARGE):
                await index.write(b"row")
                await archive.write(bytes(MIB))
            await archive.commit()
            await index.commit()
    assert sink.count("CompleteMultipartUpload") == 1
    assert sink.count("PutObject") == 1


async def test_a_cancelled_upload_is_aborted_and_gives_its_memory_back(sink: StoreSink) -> None:
    budget = ByteBudget(16 * MIB)
    sink.faults.add(StoreFault(Misbehaviour.HANG, "UploadPart", part=2, times=None))
    async with hung_up_on(sink), open_s3(S3Location("cases"), access(sink), budget=budget) as place:
        with anyio.move_on_after(1.0) as scope:
            await store(place, 400)
    assert scope.cancelled_caught
    assert sink.count("AbortMultipartUpload") == 1
    assert sink.count("CompleteMultipartUpload") == 0
    assert budget.reserved == 0


def open_uploads_left(sink: StoreSink) -> list[str]:
    return [upload.key for upload in sink.uploads.values()]


@pytest.mark.parametrize("grace", [10.0, 0.3], ids=["answered", "not-answered"])
async def test_an_upload_that_is_cancelled_while_it_begins_is_aborted(
    sink: StoreSink, grace: float
) -> None:
    """The id is still waited for; where it does not come, what is open under the key is aborted."""
    delay = 1.0 if grace > 1 else 60.0
    sink.faults.add(StoreFault(Misbehaviour.LATE, "CreateMultipartUpload", delay=delay))
    async with (
        hung_up_on(sink),
        open_s3(S3Location("cases"), access(sink, aborting=grace)) as place,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(store, place, LARGE)
        while not sink.uploads:  # noqa: ASYNC110  # another thread's doing
            await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    assert sink.count("CreateMultipartUpload") == sink.count("AbortMultipartUpload") == 1
    assert open_uploads_left(sink) == []


LOST = StoreFault(Misbehaviour.LOSE_ANSWER, "CreateMultipartUpload")


async def test_an_upload_whose_beginning_nobody_told_us_is_found_and_aborted(
    place: S3Storage, sink: StoreSink
) -> None:
    async with place.create("x-and-more") as other:
        for _ in range(LARGE):
            await other.write(bytes(MIB))
        sink.faults.add(LOST)
        stored = await store(place, LARGE)
        assert stored.size == LARGE * MIB
        assert open_uploads_left(sink) == ["p/x-and-more"]
        await other.commit()
    assert sorted(sink.objects) == ["cases/p/x", "cases/p/x-and-more"]


@pytest.mark.parametrize("refused", ["ListMultipartUploads", "AbortMultipartUpload"])
async def test_an_upload_that_cannot_be_found_or_aborted_is_spoken_of(
    place: S3Storage, sink: StoreSink, refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    sink.faults.add(LOST)
    sink.faults.add(
        StoreFault(Misbehaviour.REFUSE, refused, status=403, code="AccessDenied", times=None)
    )
    await store(place, LARGE)
    assert open_uploads_left(sink) == ["p/x"]
    assert "An upload of s3://cases/p/x may have been left open" in caplog.text


@pytest.mark.parametrize("status", [503, 403])
async def test_a_beginning_that_was_refused_leaves_nothing_to_look_for(
    place: S3Storage, sink: StoreSink, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    sink.faults.add(
        StoreFault(Misbehaviour.REFUSE, "CreateMultipartUpload", status=status, times=None)
    )
    with pytest.raises(DestinationError):
        await store(place, LARGE)
    assert sink.count("ListMultipartUploads") == 0
    assert caplog.text == ""


async def test_failing_parts_never_leave_the_writer_waiting(sink: StoreSink) -> None:
    """A queue between writer and parts would fill up for ever once every part fails."""
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "UploadPart", status=403, code="X", times=None))
    async with open_s3(S3Location("cases"), access(sink), budget=ByteBudget(16 * MIB)) as place:
        with anyio.fail_after(15), pytest.raises(AccessDenied):
            await store(place, 1_000)


async def test_memory_in_flight_stays_within_the_budget(sink: StoreSink) -> None:
    budget, most = ByteBudget(24 * MIB), 0
    sink.faults.add(StoreFault(Misbehaviour.SLOW, "UploadPart", rate=40 * MIB, times=3))
    async with (
        open_s3(S3Location("cases"), access(sink), budget=budget) as place,
        place.create("x") as writer,
    ):
        for _ in range(64):
            await writer.write(bytes(MIB))
            most = max(most, budget.reserved)
        await writer.commit()
    assert most == 24 * MIB
    assert budget.reserved == 0


async def test_an_answer_lost_on_a_put_is_settled_by_a_look(
    place: S3Storage, sink: StoreSink
) -> None:
    sink.faults.add(StoreFault(Misbehaviour.LOSE_ANSWER, "PutObject"))
    stored = await store(place, SMALL)
    assert stored.size == MIB
    assert sink.count("HeadObject") == 1


async def test_a_writer_that_may_not_look_trusts_its_own_key(
    place: S3Storage, sink: StoreSink
) -> None:
    sink.faults.add(StoreFault(Misbehaviour.LOSE_ANSWER, "PutObject"))
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "HeadObject", status=403, code="AccessDenied"))
    stored = await store(place, SMALL)
    assert stored.version_id is None


async def test_an_answer_lost_and_something_else_there_is_no_success(
    place: S3Storage, sink: StoreSink
) -> None:
    await store(place, SMALL)
    sink.faults.add(StoreFault(Misbehaviour.LOSE_ANSWER, "PutObject"))
    with pytest.raises(ObjectExists, match="other content"):
        await store(place, SMALL + 1)


SLOW_TO_JOIN = StoreFault(Misbehaviour.LATE, "CompleteMultipartUpload", delay=3.0, times=None)


async def test_joining_the_parts_may_take_longer_than_anything_else(
    sink: StoreSink,
) -> None:
    sink.faults.add(SLOW_TO_JOIN)
    patient = access(sink, progress_timeout=1.5, attempts=1, joining=10.0)
    async with open_s3(S3Location("cases"), patient) as place:
        stored = await store(place, LARGE)
    assert stored.size == LARGE * MIB
    assert (sink.count("CompleteMultipartUpload"), sink.count("HeadObject")) == (1, 0)


async def test_what_was_stored_without_an_answer_to_any_try_is_found_by_a_look(
    sink: StoreSink,
) -> None:
    sink.faults.add(SLOW_TO_JOIN)
    async with (
        hung_up_on(sink),
        open_s3(S3Location("cases"), access(sink, progress_timeout=1.5, attempts=1)) as place,
    ):
        stored = await store(place, LARGE)
    assert stored.size == LARGE * MIB
    assert (sink.count("HeadObject"), sink.count("AbortMultipartUpload")) == (1, 0)


@pytest.mark.parametrize("status", [403, 404])
async def test_nobody_to_ask_after_the_last_try_is_no_success(sink: StoreSink, status: int) -> None:
    """Only an answer that the key is taken, or the upload gone, speaks for itself."""
    sink.faults.add(SLOW_TO_JOIN)
    sink.faults.add(
        StoreFault(Misbehaviour.REFUSE, "HeadObject", status=status, code=str(status), times=None)
    )
    reach = replace(access(sink, progress_timeout=1.5, attempts=1), settling=1.0)
    async with (
        hung_up_on(sink),
        open_s3(S3Location("cases"), reach) as place,
    ):
        with pytest.raises(DestinationUnreachable, match="stopped answering"):
            await store(place, LARGE)


async def test_a_refused_try_before_something_else_is_there_is_no_success(
    place: S3Storage, sink: StoreSink
) -> None:
    """A 503 says that nothing was stored: then what is there is somebody else's, whoever looks."""
    await store(place, SMALL)
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "PutObject", status=503))
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "HeadObject", status=403, code="AccessDenied"))
    with pytest.raises(ObjectExists, match="never overwritten"):
        await store(place, SMALL)


async def test_an_upload_that_somebody_ended_is_no_success(
    place: S3Storage, sink: StoreSink
) -> None:
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "CompleteMultipartUpload", status=503))
    sink.faults.add(
        StoreFault(Misbehaviour.REFUSE, "CompleteMultipartUpload", status=404, code="NoSuchUpload")
    )
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "HeadObject", status=403, code="AccessDenied"))
    with pytest.raises(DestinationError, match="ended by somebody else"):
        await store(place, LARGE)


async def test_an_answer_lost_and_nobody_to_ask_is_no_success(
    place: S3Storage, sink: StoreSink
) -> None:
    sink.faults.add(StoreFault(Misbehaviour.LOSE_ANSWER, "PutObject"))
    sink.faults.add(
        StoreFault(Misbehaviour.REFUSE, "HeadObject", status=404, code="404", times=None)
    )
    with pytest.raises(ObjectExists):
        await store(place, SMALL)


async def test_looking_first_tells_a_missing_bucket_from_a_refusal(
    place: S3Storage, sink: StoreSink
) -> None:
    await place.check()
    for status in (400, 403):
        sink.faults.add(
            StoreFault(Misbehaviour.REFUSE, "HeadBucket", status=status, code=str(status))
        )
        await place.check()
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "HeadBucket", status=404, code="404"))
    with pytest.raises(BucketNotFound):
        await place.check()


async def test_the_clock_of_the_service_is_told_by_its_first_and_last_answer(
    place: S3Storage, sink: StoreSink
) -> None:
    assert place.clock_samples == []
    sink.faults.add(StoreFault(Misbehaviour.REFUSE, "HeadBucket", status=403, code="403"))
    for second in (12, 13, 14):
        sink.date = f"Sat, 01 Aug 2026 10:11:{second} GMT"
        await place.check()
    sink.date = "some day"
    await place.check()
    first, last = place.clock_samples
    assert first.date == datetime(2026, 8, 1, 10, 11, 12, tzinfo=UTC)
    assert last.date == datetime(2026, 8, 1, 10, 11, 14, tzinfo=UTC)
    assert first.heard < last.heard and first.monotonic < last.monotonic


async def test_nobody_there_is_said_plainly(sink: StoreSink) -> None:
    nowhere = replace(access(sink), endpoint_url="http://127.0.0.1:9")
    async with open_s3(S3Location("cases"), nowhere) as place:
        with pytest.raises(DestinationUnreachable, match="cannot be reached") as caught:
            await place.check()
    assert caught.value.message.endswith('"http://127.0.0.1:9"')


async def test_settings_that_cannot_be_used_are_wrong_usage(
    sink: StoreSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UsageError, match="nobody"):
        async with open_s3(S3Location("cases"), access(sink)):
            pytest.fail("it was opened")
    monkeypatch.delenv("AWS_PROFILE")
    nonsense = replace(access(sink), endpoint_url="nonsense")
    with pytest.raises(UsageError, match="AWS_ENDPOINT_URL"):
        async with open_s3(S3Location("cases"), nonsense):
            pytest.fail("it was opened")


async def test_the_end_of_what_one_object_holds_is_said_plainly(
    sink: StoreSink,
) -> None:
    async with open_s3(S3Location("cases"), access(sink, max_parts=2)) as place:
        with pytest.raises(ObjectTooLarge, match="longer than"):
            await store(place, LARGE)
    assert sink.count("AbortMultipartUpload") == 1


async def test_parts_larger_than_the_budget_are_sent_alone(
    sink: StoreSink,
) -> None:
    budget, most = ByteBudget(12 * MIB), 0
    async with (
        open_s3(S3Location("cases"), access(sink, part_size=16 * MIB), budget=budget) as place,
        place.create("x") as writer,
    ):
        for _ in range(60):
            await writer.write(bytes(MIB))
            most = max(most, budget.reserved)
        await writer.commit()
    assert [request.size // MIB for request in sink.sent("UploadPart")] == [16, 16, 16, 12]
    assert most == 16 * MIB
    assert budget.reserved == 0


def test_parts_grow_so_that_large_evidence_fits() -> None:
    assert parts.part_size(1) == 8 * MIB
    assert parts.part_size(1_000) == 8 * MIB
    assert parts.part_size(1_001) == 16 * MIB
    assert parts.part_size(10_000) == 128 * MIB
    assert parts.capacity(10_000) > 860 * 1024 * MIB
