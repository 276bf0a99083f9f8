"""Handlers of botocore's that do nothing for our requests are not called; the others are."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.handlers import BUILTIN_HANDLERS

from forensics_core.storage.s3.client import S3Access, s3_client
from forensics_core.storage.s3.handlers import IDLE
from tests.unit.storage.s3.test_session import KEY


class Sent(Exception):
    """Raised in place of sending a request."""


def test_handlers_that_are_left_out_are_botocores() -> None:
    assert {getattr(handler, "__name__", "") for _, handler, *_ in BUILTIN_HANDLERS} >= IDLE


@pytest.mark.parametrize("operation", ["put_object", "get_object", "list_object_versions"])
async def test_a_request_is_signed_and_says_nothing_of_tries_that_are_not_botocores(
    operation: str,
) -> None:
    sent: list[dict[str, str]] = []

    def keep(request: Any, **_: object) -> None:
        sent.append({name.lower(): str(value) for name, value in request.headers.items()})
        raise Sent

    asked = {"Bucket": "cases"} if operation.startswith("list") else {"Bucket": "cases", "Key": "a"}
    async with s3_client(S3Access(region="us-west-2", **KEY)) as client:
        client.meta.events.register_last("before-send.s3", keep)
        with pytest.raises(Sent):
            await getattr(client, operation)(**asked)
    (headers,) = sent
    assert "AWS4-HMAC-SHA256" in headers["authorization"]
    assert not headers.keys() & {"amz-sdk-request", "amz-sdk-invocation-id", "x-amzn-trace-id"}
