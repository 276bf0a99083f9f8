"""A bundle is listed once for an observation, and asked for in parts where that does not do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from forensics_core.bundle.layout import MANIFEST, SEAL
from forensics_core.errors import AccessDenied, DestinationUnreachable, TooManyObjects
from forensics_core.operator.evidence.listed import ListedBundle
from forensics_core.storage.locate import S3Location
from forensics_core.storage.objects import Traffic
from forensics_core.storage.s3.client import S3Access, s3_client
from lab.process import free_ports
from lab.seaweed import REGION, S3Identity, S3Server, collector_policy

PLACE = "cases/one"
NAMES = ("a", "b", MANIFEST)


@asynccontextmanager
async def listed(
    s3: S3Server, bucket: str, *, most: int = 100, held: int = 1000
) -> AsyncIterator[tuple[ListedBundle, Traffic]]:
    """Open the bundle as the reader, with a count of its requests."""
    traffic = Traffic()
    access = S3Access(
        endpoint_url=s3.endpoint,
        region=REGION,
        access_key_id=S3Identity.READER.access_key,
        secret_access_key=S3Identity.READER.secret_key,
        max_objects=most,
        traffic=traffic,
    )
    async with s3_client(access) as client:
        yield ListedBundle(client, S3Location(bucket, PLACE), access, held=held), traffic


async def store(s3: S3Server, bucket: str, *names: str) -> None:
    async with s3.client() as client:
        for name in names:
            await client.put_object(Bucket=bucket, Key=f"{PLACE}/{name}", Body=name.encode())


async def names_of(bundle: ListedBundle, begin: str, *only: str) -> list[str]:
    return [entry.name for entry in await bundle.list(begin, only={*only} if only else None)]


async def test_one_request_answers_all_that_is_asked(s3: S3Server, locked_bucket: str) -> None:
    await store(s3, locked_bucket, *NAMES)
    async with listed(s3, locked_bucket) as (bundle, traffic):
        assert await names_of(bundle, MANIFEST, MANIFEST) == [MANIFEST]
        assert await names_of(bundle, "", "b", "c") == ["b"]
        assert await names_of(bundle, "") == sorted(NAMES)
        assert not await bundle.has(SEAL)
        assert await bundle.has("a")
        assert traffic.requests == 1


async def test_what_lies_below_a_delete_marker_is_not_there(
    s3: S3Server, locked_bucket: str
) -> None:
    await store(s3, locked_bucket, *NAMES, SEAL)
    async with s3.client() as client:
        await client.delete_object(Bucket=locked_bucket, Key=f"{PLACE}/{SEAL}")
    async with listed(s3, locked_bucket) as (bundle, _):
        assert await names_of(bundle, SEAL) == [SEAL, SEAL]
        assert not await bundle.has(SEAL)


async def test_a_listing_without_the_manifest_proves_no_absence(s3: S3Server, bucket: str) -> None:
    await store(s3, bucket, "a")
    async with listed(s3, bucket) as (bundle, _):
        assert await names_of(bundle, MANIFEST) == []
        # As a store does that lists only later what it has.
        await store(s3, bucket, SEAL)
        assert await bundle.has(SEAL)


async def test_of_a_long_listing_each_part_is_asked_for(s3: S3Server, bucket: str) -> None:
    await store(s3, bucket, *NAMES)
    async with listed(s3, bucket, held=2) as (bundle, traffic):
        assert await names_of(bundle, MANIFEST, MANIFEST) == [MANIFEST]
        before = traffic.requests
        assert await names_of(bundle, "a", "a") == ["a"]
        assert traffic.requests == before + 1
        assert not await bundle.has(SEAL)
    async with listed(s3, bucket, most=2) as (bundle, _):
        with pytest.raises(TooManyObjects):
            await bundle.list()


async def test_a_refusal_is_remembered(s3: S3Server, bucket: str) -> None:
    await store(s3, bucket, *NAMES)
    rules = collector_policy(bucket)
    denied = {
        "Effect": "Deny",
        "Principal": {"AWS": f"arn:aws:iam::000000000000:user/{S3Identity.READER}"},
        "Action": ["s3:ListBucket", "s3:ListBucketVersions"],
        "Resource": [f"arn:aws:s3:::{bucket}"],
    }
    rules["Statement"].append(denied)
    async with s3.client() as client:
        await client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(rules))
    async with listed(s3, bucket) as (bundle, traffic):
        with pytest.raises(AccessDenied):
            await bundle.list()
        before = traffic.requests
        with pytest.raises(AccessDenied):
            await bundle.list()
        assert traffic.requests == before
        assert await bundle.has("a")


async def test_a_store_that_is_away_is_asked_again() -> None:
    [free_port] = free_ports(1)
    access = S3Access(f"http://127.0.0.1:{free_port}", REGION, "k", "s", attempts=1)
    async with s3_client(access) as client:
        bundle = ListedBundle(client, S3Location("cases", PLACE), access)
        for _ in range(2):
            with pytest.raises(DestinationUnreachable):
                await bundle.list()
