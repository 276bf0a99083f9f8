"""Requests are signed as botocore signs them, and its handlers that do nothing are not called."""

from __future__ import annotations

from typing import Any, cast

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.handlers import BUILTIN_HANDLERS

from forensics_core.storage.s3.client import S3Access, s3_client
from forensics_core.storage.s3.signing import IDLE, NAME, S3Signer
from tests.unit.storage.s3.test_session import KEY

URLS = (
    "http://127.0.0.1:8333/cases/context/pod.yaml",
    "https://cases.s3.eu-west-1.amazonaws.com:443/a%20b/%C3%BC?versionId=x%2By&partNumber=1",
    "https://[::1]:9000/cases?versions&prefix=a%2F",
    "HTTPS://User@S3.Example.com/cases",
)
HEADERS = {"X-Amz-Meta-B": "two   words ", "content-type": "text/plain", "User-Agent": "x"}


class AtOnce:
    """As much of a time as botocore asks for."""

    def strftime(self, _: str) -> str:
        return "20261128T081500Z"


def signed(signer: type[S3SigV4Auth], url: str, token: str | None, *, whole: bool) -> Any:
    request = AWSRequest("PUT", url, headers=HEADERS, data=b"bytes")
    request.context = {
        "timestamp": AtOnce().strftime(""),
        "client_config": Config(payload_signing_enabled=whole),
    }
    auth: Any = signer(ReadOnlyCredentials("AKIA", "secret", token), "s3", "eu-west-1")
    auth._modify_request_before_signing(request)
    wanted = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, wanted), request)
    auth._inject_signature_to_request(request, signature)
    return wanted, dict(request.headers.items())


class Config:
    """A client's, with nothing but what concerns S3."""

    def __init__(self, **s3: object) -> None:
        self.s3 = s3


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("token", [None, "token"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_signature_is_the_one_that_botocore_makes(
    url: str, token: str | None, *, whole: bool
) -> None:
    theirs = signed(S3SigV4Auth, url, token, whole=whole)
    assert signed(S3Signer, url, token, whole=whole) == theirs


def test_handlers_that_are_left_out_are_botocores() -> None:
    assert {getattr(handler, "__name__", "") for _, handler, *_ in BUILTIN_HANDLERS} >= IDLE


@pytest.mark.parametrize(
    ("version", "name", "chosen"),
    [
        ("v4", "s3", NAME),
        ("s3v4", "s3", NAME),
        ("s3v4-query", "s3", "s3-query"),
        ("v4-s3express", "s3express", "v4-s3express"),
    ],
)
async def test_links_and_directory_buckets_are_signed_by_botocore(
    version: str, name: str, chosen: str
) -> None:
    async with s3_client(S3Access(region="us-west-2", **KEY)) as client:
        signer: Any = cast(Any, client)._request_signer
        context = {"auth_type": version, "signing": {"signing_name": name, "region": "us-west-2"}}
        assert await signer._choose_signer("GetObject", "standard", context) == chosen
