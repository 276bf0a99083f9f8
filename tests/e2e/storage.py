"""The bucket: there before the story, and rid of the run's objects after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import aioboto3
from botocore.exceptions import ClientError

from tests.e2e.inputs import Inputs

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


@asynccontextmanager
async def _client(inputs: Inputs) -> AsyncIterator[S3Client]:
    session = aioboto3.Session(
        aws_access_key_id=inputs.keys.access_key_id,
        aws_secret_access_key=inputs.keys.secret_access_key,
        aws_session_token=inputs.keys.session_token or None,
        region_name=inputs.region,
    )
    opening: AbstractAsyncContextManager[S3Client]
    opening = session.client("s3", endpoint_url=inputs.endpoint_local or None)
    async with opening as client:
        yield client


def _name(inputs: Inputs) -> str:
    return inputs.bucket.partition("/")[0]


async def make_bucket(inputs: Inputs) -> bool:
    """Create the bucket if it is not there; return whether that was so."""
    async with _client(inputs) as client:
        try:
            await client.head_bucket(Bucket=_name(inputs))
        except ClientError as error:
            there = error.response["ResponseMetadata"]["HTTPStatusCode"] != 404
        else:
            there = True
        if there:
            # Or hidden from us: then what follows says so.
            return False
        if inputs.region == "us-east-1" or inputs.endpoint_local:
            await client.create_bucket(Bucket=_name(inputs))
        else:
            await client.create_bucket(
                Bucket=_name(inputs),
                # The regions that the types list are those of one release of the SDK.
                CreateBucketConfiguration={"LocationConstraint": inputs.region},  # type: ignore[typeddict-item]
            )
    return True


async def forget(inputs: Inputs, *, bucket_too: bool) -> list[str]:
    """Delete the run's objects, and the bucket if it was made; return what could not be, and why.

    An operator's identity may not delete, and what is locked cannot be.
    """
    left: list[str] = []
    async with _client(inputs) as client:
        try:
            found = [each async for each in _objects(client, inputs)]
        except ClientError as error:
            return [f"{inputs.destination}: {error}"]
        for key, version in found:
            try:
                await client.delete_object(Bucket=_name(inputs), Key=key, VersionId=version)
            except ClientError as error:
                left.append(f"{key}: {error}")
        if bucket_too and not left:
            await client.delete_bucket(Bucket=_name(inputs))
    return left


async def _objects(client: S3Client, inputs: Inputs) -> AsyncIterator[tuple[str, str]]:
    prefix = f"{inputs.destination.partition('//')[2].partition('/')[2]}/"
    pages = client.get_paginator("list_object_versions")
    async for page in pages.paginate(Bucket=_name(inputs), Prefix=prefix):
        for version in page.get("Versions", []):
            yield version["Key"], version["VersionId"]
        for marker in page.get("DeleteMarkers", []):
            yield marker["Key"], marker["VersionId"]
