"""Endpoints are worked out once for an operation and a bucket, and are the same as ever."""

from __future__ import annotations

from typing import Any, cast

import pytest

from forensics_core.storage.s3.client import S3Access, s3_client
from forensics_core.storage.s3.endpoints import MAX_KNOWN, remember_endpoints
from tests.unit.storage.s3.test_session import KEY

BUCKETS = ("cases", "with.dots", "arn:aws:s3:us-west-2:123456789012:accesspoint:cases")


class Resolver:
    """As much of botocore's as is used, with a count of how often it gathers."""

    def __init__(self, *parameters: str) -> None:
        self._param_definitions = dict.fromkeys(parameters)
        self.region = "eu-west-1"
        self.gathered = 0

    async def _get_customized_builtins(self, *_: Any) -> dict[str, Any]:
        return {"AWS::Region": self.region}

    async def _get_provider_params(
        self, operation: Any, asked: dict[str, Any], _: dict[str, Any]
    ) -> dict[str, Any]:
        self.gathered += 1
        return {"Bucket": asked["Bucket"], "Region": self.region}


class Client:
    def __init__(self, resolver: Resolver) -> None:
        self._ruleset_resolver = resolver


class Operation:
    name = "PutObject"


async def parameters(resolver: Resolver, bucket: str = "cases") -> dict[str, Any]:
    asked = {"Bucket": bucket, "Key": "a"}
    found: dict[str, Any] = await resolver._get_provider_params(Operation(), asked, {})
    return found


async def test_parameters_are_gathered_once_until_the_region_is_another() -> None:
    resolver = Resolver("Bucket")
    remember_endpoints(cast(Any, Client(resolver)))
    first = await parameters(resolver)
    first["Endpoint"] = "of one request alone"
    assert await parameters(resolver) == {"Bucket": "cases", "Region": "eu-west-1"}
    assert resolver.gathered == 1
    resolver.region = "us-east-2"
    assert await parameters(resolver) == {"Bucket": "cases", "Region": "us-east-2"}
    assert resolver.gathered == 2


async def test_no_more_than_so_many_are_kept() -> None:
    resolver = Resolver("Bucket")
    remember_endpoints(cast(Any, Client(resolver)))
    for number in range(MAX_KNOWN + 1):
        await parameters(resolver, f"cases-{number}")
    await parameters(resolver, f"cases-{MAX_KNOWN}")
    assert resolver.gathered == MAX_KNOWN + 1
    await parameters(resolver, "cases-0")
    assert resolver.gathered == MAX_KNOWN + 2


async def test_rules_that_ask_for_the_key_are_asked_each_time() -> None:
    resolver = Resolver("Bucket", "Key")
    remember_endpoints(cast(Any, Client(resolver)))
    await parameters(resolver)
    await parameters(resolver)
    assert resolver.gathered == 2


@pytest.mark.parametrize("operation", ["PutObject", "GetObject", "ListObjectVersions"])
@pytest.mark.parametrize("bucket", BUCKETS)
async def test_endpoints_are_those_of_a_client_that_remembers_none(
    operation: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    async with s3_client(S3Access(region="us-west-2", **KEY)) as client:
        resolver: Any = cast(Any, client)._ruleset_resolver
        model = cast(Any, client)._service_model.operation_model(operation)
        asked = {"Bucket": bucket, "Key": "a", "Prefix": "b"}
        plain = await type(resolver)._get_provider_params(resolver, model, asked, {})
        for _ in range(2):
            assert await resolver._get_provider_params(model, asked, {}) == plain
