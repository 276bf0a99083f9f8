from __future__ import annotations

from dataclasses import fields

import pytest
from botocore.exceptions import ClientError

from lab.process import free_ports
from lab.seaweed import S3Identity, S3Server, _Ports, running_s3_server


async def test_the_collector_may_only_add(s3: S3Server, bucket: str) -> None:
    async with s3.client(S3Identity.COLLECTOR) as collector:
        await collector.put_object(Bucket=bucket, Key="a", Body=b"evidence")
        for forbidden in (
            collector.get_object(Bucket=bucket, Key="a"),
            collector.delete_object(Bucket=bucket, Key="a"),
            collector.list_objects_v2(Bucket=bucket),
        ):
            with pytest.raises(ClientError, match="AccessDenied"):
                await forbidden
    async with s3.client(S3Identity.READER) as reader:
        stored = await reader.get_object(Bucket=bucket, Key="a")
        assert await stored["Body"].read() == b"evidence"
        with pytest.raises(ClientError, match="AccessDenied"):
            await reader.put_object(Bucket=bucket, Key="b", Body=b"")


async def test_an_overwrite_in_a_locked_bucket_only_adds_a_version(
    s3: S3Server, locked_bucket: str
) -> None:
    async with s3.client(S3Identity.COLLECTOR) as collector:
        first = await collector.put_object(Bucket=locked_bucket, Key="a", Body=b"one")
        await collector.put_object(Bucket=locked_bucket, Key="a", Body=b"two")
    async with s3.client(S3Identity.READER) as reader:
        kept = await reader.get_object(Bucket=locked_bucket, Key="a", VersionId=first["VersionId"])
        assert await kept["Body"].read() == b"one"


def test_a_second_server_does_not_clash(s3: S3Server) -> None:
    with running_s3_server() as other:
        assert other.endpoint != s3.endpoint


def test_free_ports_are_distinct() -> None:
    assert len(set(free_ports(8))) == 8


def test_where_another_server_has_its_port_it_is_started_again(s3: S3Server) -> None:
    """The other one answers at that port, so that nobody would notice."""
    taken = int(s3.endpoint.rpartition(":")[2])
    offered: list[list[int]] = []

    def offer(count: int) -> list[int]:
        ports = free_ports(count)
        if not offered:
            ports[[part.name for part in fields(_Ports)].index("s3")] = taken
        offered.append(ports)
        return ports

    with running_s3_server(ports=offer) as other:
        assert other.endpoint != s3.endpoint and len(offered) == 2
