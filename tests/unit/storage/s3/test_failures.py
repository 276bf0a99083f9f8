"""What S3 and its clients say, judged: does it pass, was it done, and what is a person to do?"""

from __future__ import annotations

import pytest
from aiohttp import ClientConnectorError, ClientOSError
from aiohttp.client_reqrep import ConnectionKey
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from forensics_core.errors import (
    AccessDenied,
    CredentialsExpired,
    DestinationError,
    DestinationFull,
    DestinationUnreachable,
)
from forensics_core.storage.s3.failures import ambiguous, explain, may_appear, passing

URL = "s3://cases/x"
REFUSED = ClientConnectorError(ConnectionKey("h", 1, False, True, None, None, None), OSError(111))
"""Nobody listens there: nothing was sent."""


def refusal(status: int, code: str, message: str = "") -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},  # type: ignore[typeddict-item] # the rest does not matter
        },
        "PutObject",
    )


@pytest.mark.parametrize(
    ("error", "passes", "unsure"),
    [
        (refusal(503, "SlowDown"), True, False),
        (refusal(429, "TooManyRequests"), True, False),
        (refusal(500, "InternalError"), True, True),
        (refusal(200, "InternalError"), True, True),
        (refusal(409, "ConditionalRequestConflict"), True, False),
        (refusal(403, "AccessDenied"), False, False),
        (ConnectionResetError(), True, True),
        (TimeoutError(), True, True),
        (EndpointConnectionError(endpoint_url="x", error=ClientOSError(104, "reset")), True, True),
        (EndpointConnectionError(endpoint_url="x", error=REFUSED), True, False),
        (ConnectTimeoutError(endpoint_url="x"), True, False),
        (REFUSED, True, False),
        (SSLError(endpoint_url="https://x", error=Exception("certificate")), False, False),
        (NoCredentialsError(), False, False),
        (FileNotFoundError(2, "No such file", "/token"), False, False),
    ],
)
def test_a_failure_is_judged(error: Exception, passes: bool, unsure: bool) -> None:
    assert passing(error) == passes
    assert ambiguous(error) == unsure


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (NoCredentialsError(), AccessDenied, "no credentials"),
        (PartialCredentialsError(provider="env", cred_var="x"), AccessDenied, "no credentials"),
        (
            CredentialRetrievalError(provider="custom-process", error_msg="first\nsecond\n"),
            AccessDenied,
            "from custom-process: first second. Sign in again",
        ),
        (UnauthorizedSSOTokenError(), AccessDenied, "SSO session"),
        (SSOTokenLoadError(error_msg="gone"), AccessDenied, "aws sso login"),
        (TokenRetrievalError(provider="sso", error_msg="expired"), AccessDenied, "expired"),
        (FileNotFoundError(2, "No such file", "/token"), AccessDenied, "'/token'. Sign in"),
        (refusal(400, "ExpiredToken"), CredentialsExpired, "the session has expired"),
        (refusal(403, "QuotaExceeded"), DestinationFull, "is full"),
        (refusal(503, "503", "Busy."), DestinationUnreachable, "answered 503: Busy. Try"),
        (refusal(503, "SlowDown", "Busy"), DestinationUnreachable, "answered 503 SlowDown: Busy."),
        (refusal(400, "AuthorizationHeaderMalformed"), DestinationError, "Set AWS_REGION"),
        (TimeoutError(), DestinationUnreachable, "stopped answering"),
        (
            EndpointConnectionError(endpoint_url="https://h:1/b/k?uploadId=1"),
            DestinationUnreachable,
            'cannot be reached: Could not connect to the endpoint URL: "https://h:1".',
        ),
    ],
)
def test_a_failure_is_explained(error: Exception, kind: type[DestinationError], said: str) -> None:
    explained = explain(error, URL)
    assert type(explained) is kind
    assert said in str(explained)
    assert URL in str(explained)


@pytest.mark.parametrize(
    ("error", "unsure", "appears"),
    [
        (TimeoutError(), False, True),
        (ClientOSError(104, "reset"), False, True),
        (ResponseParserError("no XML"), False, True),
        (REFUSED, False, False),
        (REFUSED, True, True),
        (refusal(409, "OperationAborted", "is in progress"), False, True),
        (refusal(409, "OperationAborted"), False, False),
        (refusal(409, "OperationAborted"), True, True),
        (refusal(404, "NoSuchUpload"), True, True),
        (refusal(500, "InternalError", "already in progress"), False, True),
        (refusal(500, "InternalError"), True, False),
        (refusal(412, "PreconditionFailed"), True, False),
    ],
)
def test_an_object_that_is_being_joined_may_still_appear(
    error: Exception, unsure: bool, appears: bool
) -> None:
    assert may_appear(error, unsure=unsure) is appears


def test_an_answer_that_nobody_can_read_names_the_endpoint() -> None:
    explained = explain(ResponseParserError("no XML"), URL)
    assert "not an answer of S3" in str(explained) and "AWS_ENDPOINT_URL" in (explained.hint or "")
