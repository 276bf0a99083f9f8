"""The bucket policy that the documents hand out, on a strict S3 server."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab.seaweed import S3Identity, S3Server
from tests.unit.deploy.manifests import DEPLOY

AWS = DEPLOY / "aws"
AWS_ALONE = {"OnlyOverTls", "NothingIsWrittenTwice"}
"""Statements with conditions: the server here speaks plain HTTP, and ignores `s3:if-none-match`."""


def policy(name: str = "bucket-policy") -> dict[str, Any]:
    read: dict[str, Any] = json.loads((AWS / f"{name}.json").read_text())
    return read


def filled_in(bucket: str) -> dict[str, Any]:
    """Return the policy with the names that docs/install.md says to fill in."""
    text = json.dumps(policy()).replace("BUCKET", bucket).replace("OPERATOR", user("operator"))
    filled: dict[str, Any] = json.loads(
        text.replace("COLLECTOR", user("collector")).replace("READER", user("reader"))
    )
    statements = [one for one in filled["Statement"] if one["Sid"] not in AWS_ALONE]
    assert len(statements) == len(filled["Statement"]) - len(AWS_ALONE)
    return filled | {"Statement": statements}


def user(name: str) -> str:
    return f"arn:aws:iam::000000000000:user/{name}"


@pytest.fixture
async def cases(s3: S3Server) -> str:
    """A versioned bucket with Object Lock and the policy."""
    name = f"policy-{secrets.token_hex(4)}"
    return await s3.create_bucket(name, object_lock=True, policy=filled_in(name))


async def test_the_collector_adds_with_lock_and_in_parts(s3: S3Server, cases: str) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    async with s3.client(S3Identity.COLLECTOR) as collector:
        await collector.put_object(
            Bucket=cases,
            Key="a",
            Body=b"evidence",
            IfNoneMatch="*",
            ACL="bucket-owner-full-control",
            ObjectLockMode="GOVERNANCE",
            ObjectLockRetainUntilDate=until,
        )
        upload = (await collector.create_multipart_upload(Bucket=cases, Key="b"))["UploadId"]
        await collector.upload_part(
            Bucket=cases, Key="b", UploadId=upload, PartNumber=1, Body=b"part"
        )
        listed = await collector.list_parts(Bucket=cases, Key="b", UploadId=upload)
        assert [entry["PartNumber"] for entry in listed["Parts"]] == [1]
        await collector.abort_multipart_upload(Bucket=cases, Key="b", UploadId=upload)


async def test_the_collector_neither_reads_nor_removes(s3: S3Server, cases: str) -> None:
    async with s3.client(S3Identity.COLLECTOR) as collector:
        stored = await collector.put_object(Bucket=cases, Key="a", Body=b"evidence")
        for forbidden in (
            collector.get_object(Bucket=cases, Key="a"),
            collector.head_object(Bucket=cases, Key="a"),
            collector.delete_object(Bucket=cases, Key="a"),
            collector.delete_object(Bucket=cases, Key="a", VersionId=stored["VersionId"]),
            collector.list_objects_v2(Bucket=cases),
        ):
            with pytest.raises(ClientError, match=r"AccessDenied|403"):
                await forbidden


async def test_an_overwrite_leaves_the_first_version_to_the_reader(
    s3: S3Server, cases: str
) -> None:
    async with s3.client(S3Identity.COLLECTOR) as collector:
        first = await collector.put_object(Bucket=cases, Key="a", Body=b"one")
        await collector.put_object(Bucket=cases, Key="a", Body=b"two")
    async with s3.client(S3Identity.READER) as reader:
        kept = await reader.get_object(Bucket=cases, Key="a", VersionId=first["VersionId"])
        assert await kept["Body"].read() == b"one"
        assert (await reader.list_objects_v2(Bucket=cases))["KeyCount"] == 1
        with pytest.raises(ClientError, match="AccessDenied"):
            await reader.delete_object(Bucket=cases, Key="a")


def allows(name: str) -> set[str]:
    """Return the actions on objects that the policy of a role allows."""
    return {
        action
        for statement in policy(name)["Statement"]
        if statement["Effect"] == "Allow"
        for action in statement["Action"]
    }


def test_the_roles_have_what_they_need_and_no_more() -> None:
    add = {
        "s3:PutObject",
        "s3:PutObjectAcl",
        "s3:PutObjectRetention",
        "s3:PutObjectLegalHold",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
    }
    look = {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"}
    locks = {"s3:GetObjectRetention", "s3:GetObjectLegalHold"}
    encrypt = {"kms:GenerateDataKey", "kms:Decrypt"}
    assert allows("collector") == add | encrypt
    assert allows("operator") == add | look | encrypt
    assert allows("reader") == look | locks | {"kms:Decrypt"}


@pytest.mark.parametrize("name", ["collector", "operator", "reader"])
def test_no_role_removes_evidence_and_none_is_allowed_a_wildcard(name: str) -> None:
    denied = [one for one in policy(name)["Statement"] if one["Effect"] == "Deny"]
    actions = {action for statement in denied for action in statement["Action"]}
    assert {"s3:Delete*", "s3:BypassGovernanceRetention"} <= actions
    assert not any("*" in action for action in allows(name))
