"""Uploads to a strict S3 server: signatures, rights, locks, versions and checksums are real."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from awscrt import checksums
from botocore.exceptions import ClientError

from forensics_core.api.order import Retention, RetentionMode
from forensics_core.errors import (
    AccessDenied,
    BucketNotFound,
    DestinationError,
    ObjectExists,
    ObjectLockMissing,
)
from forensics_core.storage.budget import MIB
from forensics_core.storage.locate import S3Location
from forensics_core.storage.objects import StoredObject
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.storage import S3Storage, open_s3
from lab.seaweed import REGION, S3Identity, S3Server

SMALL, LARGE = 1, 20
"""MiB: one PUT, and three parts."""


def access(
    s3: S3Server, identity: S3Identity = S3Identity.COLLECTOR, *, secret: str = ""
) -> S3Access:
    return S3Access(
        endpoint_url=s3.endpoint,
        region=REGION,
        access_key_id=identity.access_key,
        secret_access_key=secret or identity.secret_key,
        attempts=2,
    )


def content(size: int) -> bytes:
    return bytes(range(256)) * (size * MIB // 256)


async def store(place: S3Storage, name: str, size: int) -> StoredObject:
    data = content(size)
    async with place.create(name) as writer:
        for start in range(0, len(data), MIB):
            await writer.write(data[start : start + MIB])
        return await writer.commit()


async def uploads(s3: S3Server, bucket: str) -> list[str]:
    """Return the keys of the uploads that were begun and neither ended nor aborted."""
    async with s3.client() as client:
        answer = await client.list_multipart_uploads(Bucket=bucket)
    return [row["Key"] for row in answer.get("Uploads", [])]


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_who_may_only_write_can_store_and_nothing_else(
    s3: S3Server, bucket: str, size: int
) -> None:
    async with open_s3(S3Location(bucket, "p"), access(s3)) as place:
        await place.check()
        stored = await store(place, "x", size)
    crc = checksums.crc64nvme(content(size)).to_bytes(8, "big")
    assert stored.crc64nvme == base64.b64encode(crc).decode()
    async with s3.client(S3Identity.READER) as client:
        there = await client.get_object(Bucket=bucket, Key="p/x")
        assert await there["Body"].read() == content(size)
    async with s3.client(S3Identity.COLLECTOR) as client:
        with pytest.raises(ClientError, match="AccessDenied"):
            await client.get_object(Bucket=bucket, Key="p/x")


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_what_is_there_is_never_overwritten(s3: S3Server, bucket: str, size: int) -> None:
    async with open_s3(S3Location(bucket), access(s3)) as place:
        await store(place, "x", SMALL)
        with pytest.raises(ObjectExists):
            await store(place, "x", size)
    async with s3.client(S3Identity.READER) as client:
        there = await client.get_object(Bucket=bucket, Key="x")
        assert there["ContentLength"] == SMALL * MIB
    assert await uploads(s3, bucket) == []


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_locked_version_survives_whoever_stored_it(
    s3: S3Server, locked_bucket: str, size: int
) -> None:
    retention = Retention(mode=RetentionMode.COMPLIANCE, days=1, legal_hold=True)
    where = S3Location(locked_bucket, "p")
    async with open_s3(where, access(s3), retention=retention) as place:
        stored = await store(place, "x", size)
    assert stored.version_id
    version = {"Bucket": locked_bucket, "Key": "p/x", "VersionId": stored.version_id}
    async with s3.client(S3Identity.COLLECTOR) as client:
        with pytest.raises(ClientError, match="AccessDenied"):
            await client.delete_object(**version)  # type: ignore[arg-type] # by name
        await client.put_object(Bucket=locked_bucket, Key="p/x", Body=b"overwritten")
    async with s3.client() as client:
        with pytest.raises(ClientError):
            await client.delete_object(**version)  # type: ignore[arg-type] # by name
        there = await client.get_object(**version)  # type: ignore[arg-type] # by name
        assert await there["Body"].read() == content(size)
        assert there["ObjectLockMode"] == "COMPLIANCE"
        assert there["ObjectLockLegalHoldStatus"] == "ON"
        until = there["ObjectLockRetainUntilDate"]
    assert until > datetime.now(UTC) + timedelta(hours=23)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("wish", [Retention(days=1), Retention(legal_hold=True)])
async def test_a_bucket_that_cannot_lock_is_named(
    s3: S3Server, bucket: str, size: int, wish: Retention
) -> None:
    async with open_s3(S3Location(bucket), access(s3), retention=wish) as place:
        with pytest.raises(ObjectLockMissing, match="no Object Lock"):
            await store(place, "x", size)
    assert await uploads(s3, bucket) == []


async def test_wrong_credentials_are_told_apart(s3: S3Server, bucket: str) -> None:
    async with open_s3(S3Location(bucket), access(s3, secret="wrong")) as place:  # noqa: S106
        await place.check()
        with pytest.raises(AccessDenied, match="does not fit the access key"):
            await store(place, "x", SMALL)
    async with open_s3(S3Location(bucket), access(s3, S3Identity.READER)) as place:
        with pytest.raises(AccessDenied, match="refused this"):
            await store(place, "x", LARGE)
    async with open_s3(S3Location("no-such-bucket"), access(s3, S3Identity.ADMIN)) as place:
        with pytest.raises(BucketNotFound):
            await place.check()


async def test_an_upload_that_is_given_up_leaves_nothing(s3: S3Server, bucket: str) -> None:
    async with open_s3(S3Location(bucket), access(s3)) as place:
        with pytest.raises(DestinationError, match="the source broke"):
            async with place.create("x") as writer:
                for _ in range(LARGE):
                    await writer.write(bytes(MIB))
                assert await uploads(s3, bucket) == ["x"]
                raise DestinationError("the source broke")
    assert await uploads(s3, bucket) == []
