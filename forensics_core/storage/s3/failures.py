"""What S3 says when it fails: whether to try again, and how to put it to a person.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

import re

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError

from forensics_core.errors import (
    AccessDenied,
    BucketNotFound,
    CredentialsExpired,
    DestinationError,
    DestinationFull,
    DestinationUnreachable,
    ObjectExists,
    ObjectLockMissing,
)

FAILURES = (BotoCoreError, ClientError, aiohttp.ClientError, OSError)
"""Everything that a request can end with; a `TimeoutError` is an `OSError`."""

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    SSOError,
    TokenRetrievalError,
    # Of a file with a token: a request for an object opens none.
    FileNotFoundError,
    PermissionError,
)
# Some come with a status of 4xx, which otherwise is final: an expired token is renewed by the next
# try, a 409 says that somebody is writing at this moment.
_PASSING = {
    "SlowDown",
    "InternalError",
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
    "ExpiredToken",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "ServiceUnavailable",
}
_CREDENTIALS = {
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "ExpiredToken": "the session has expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
}
_LOCK_MISSING = {"ObjectLockConfigurationNotFoundError", "InvalidBucketState"}
_OVERLOADED = {429, 500, 502, 503, 504}
_REDIRECTS = {301, 302, 303, 307, 308}
_FULL = {"QuotaExceeded", "XMinioStorageFull"}
_REGION = {
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "IllegalLocationConstraintException",
}
_WITHIN_HOST = re.compile(r"(?<=[^/:])/[^/\"][^\"]*")
"""What follows the host in a URL that is quoted: keys and upload ids help nobody."""


def code_of(error: BaseException) -> str:
    """Return S3's error code, or the HTTP status where a response had no body, or nothing."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def status_of(error: BaseException) -> int:
    """Return the HTTP status of a refusal, or 0."""
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0


def passing(error: BaseException) -> bool:
    """Return whether the same request may well succeed if it is tried again."""
    if isinstance(error, ClientError):
        # 501: what was asked for is not implemented, and will not be a moment later.
        broken = status_of(error) >= 500 and status_of(error) != 501
        return code_of(error) in _PASSING or broken or status_of(error) == 429
    # A certificate that does not fit will not in a minute, and credentials are not made by asking.
    if isinstance(error, SSLError) or about_credentials(error):
        return False
    return isinstance(error, HTTPClientError | BotoConnectionError | aiohttp.ClientError | OSError)


def ambiguous(error: BaseException) -> bool:
    """Return whether the request may have been carried out all the same."""
    if isinstance(error, ClientError):
        # A 200 with an error in it is one; a 503 says that nothing was even begun.
        return status_of(error) in {200, 500, 502, 504}
    # Of an answer that is none, nobody knows what it means.
    return isinstance(error, ResponseParserError) or (passing(error) and not _never_sent(error))


def may_appear(error: BaseException, *, unsure: bool) -> bool:
    """Return whether an object that is being joined may still appear though `error` came of it.

    `unsure` says whether an earlier try may have been carried out. Some stores answer a second
    request to join with 404 or 409 while they still do what the first one asked for.
    """
    if isinstance(error, ClientError):
        said = str(error.response.get("Error", {}).get("Message", "")).lower()
        busy = status_of(error) in {404, 409, 500} and "in progress" in said
        return busy or (unsure and status_of(error) in {404, 409})
    return unsure or ambiguous(error)


def incomplete_answer(url: str, what: str) -> DestinationError:
    """Return the error for an answer that lacks `what`, without which nothing can go on."""
    return DestinationError(
        f"{url}: the service's answer has no {what}, so it is not an answer of S3",
        hint="Check that AWS_ENDPOINT_URL, or the destination's endpoint, is the store's S3 API "
        "itself, and no web page or proxy",
    )


def _never_sent(error: BaseException) -> bool:
    """Whether there was no connection to send the request on; aiobotocore tells it in `error`."""
    said = error.kwargs.get("error") if isinstance(error, BotoConnectionError) else error
    return isinstance(error, ConnectTimeoutError) or isinstance(said, aiohttp.ClientConnectorError)


def explain(error: BaseException, url: str, *, locking: bool = False) -> DestinationError:
    """Return the error that says what failed at `url` and what to do about it.

    `locking` is for requests that asked for Object Lock.
    """
    if isinstance(error, ClientError):
        return _refusal(error, url, locking)
    if about_credentials(error):
        return no_credentials(error, url)
    if (unfit := _malformed(error)) is not None:
        # Nothing was sent: that says nothing of the service, which others may use well.
        return DestinationError(
            f"{url} cannot be asked for that: {unfit}", hint="Correct what the request asks for"
        )
    if isinstance(error, ResponseParserError):
        return incomplete_answer(url, "XML")
    if isinstance(error, TimeoutError):
        return DestinationUnreachable(
            f"{url} stopped answering", hint="Check the network and the service, then try again"
        )
    hint = "Check AWS_ENDPOINT_URL, the network and the service"
    if isinstance(error, SSLError) or "certificate verify failed" in str(error).lower():
        hint = "If the service has an authority of its own, name its file in AWS_CA_BUNDLE"
    return DestinationUnreachable(
        f"{url} cannot be reached: {_WITHIN_HOST.sub('', str(error))}", hint=hint
    )


def _malformed(error: BaseException) -> BaseException | None:
    """Return why a request cannot be spelled at all, such as a line end in a header."""
    said = error.kwargs.get("error") if isinstance(error, HTTPClientError) else error
    return said if isinstance(said, ParamValidationError | ValueError) else None


def about_credentials(error: BaseException) -> bool:
    """Return whether there were no credentials to ask with, so that nothing was asked."""
    return isinstance(error, _NO_CREDENTIALS)


def no_credentials(error: BaseException, url: str) -> AccessDenied:
    """Return the error that says why there are no credentials for `url`, and how to get some."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return AccessDenied(
            f"There are no credentials for {url}",
            hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    said = " ".join(str(error).split()).rstrip(" .:")
    return AccessDenied(
        f"The credentials for {url} cannot be had: {said}",
        hint="Sign in again, as with 'aws sso login', or check AWS_PROFILE and what it names",
    )


def _refusal(error: ClientError, url: str, locking: bool) -> DestinationError:
    code, status = code_of(error), status_of(error)
    said = str(error.response.get("Error", {}).get("Message", "")).rstrip(".") or code
    # A HEAD has no body, and so no code: the status is all there is.
    if code == "NoSuchBucket" or (code == "404" and status == 404):
        return BucketNotFound(
            f"The bucket of {url} does not exist", hint="Create it, or check the name and endpoint"
        )
    if code in _CREDENTIALS:
        kind = CredentialsExpired if code == "ExpiredToken" else AccessDenied
        return kind(
            f"{url} refused the credentials: {_CREDENTIALS[code]}",
            hint="Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
        )
    # Before the locks, as these stores name them in the same sentence.
    if _about_md5(said):
        return DestinationError(
            f"{url} wants a checksum of another kind: {said}",
            hint="Set FORENSICS_S3_CHECKSUM, or the destination's checksum, to md5",
        )
    if _about_locks(code, said, locking):
        return ObjectLockMissing(
            f"The bucket of {url} has no Object Lock, so retention cannot be set: {said}",
            hint="Use a bucket created with Object Lock, or ask for no retention",
        )
    return _by_status(code, status, said, url) or _by_name(code, status, said, url)


def _by_status(code: str, status: int, said: str, url: str) -> DestinationError | None:
    if status == 507 or code in _FULL:
        return DestinationFull(f"{url} is full: {said}", hint="Free space, or use another bucket")
    if status in {401, 403}:
        return AccessDenied(
            f"{url} refused this: {said}", hint="Check the identity's policy and the bucket's"
        )
    if status == 412:
        return ObjectExists(
            f"{url} exists already, and evidence is never overwritten",
            hint="Choose another bundle name",
        )
    if status in _OVERLOADED:
        return DestinationUnreachable(
            f"{url} answered {_spelled(status, code)}: {said}",
            hint="Try again later, or ask its administrator",
        )
    return None


def _elsewhere(status: int, url: str) -> DestinationError:
    return DestinationError(
        f"{url} answered {status}: it is in another region, or a proxy leads elsewhere",
        hint="Set AWS_REGION to the bucket's, and AWS_ENDPOINT_URL to the store itself",
    )


def _by_name(code: str, status: int, said: str, url: str) -> DestinationError:
    if code in _REGION:
        return DestinationError(
            f"{url} is in another region: {said}", hint="Set AWS_REGION to the bucket's"
        )
    if status in _REDIRECTS:
        return _elsewhere(status, url)
    if code == "NoSuchUpload":
        return DestinationError(
            f"The upload of {url} was ended by somebody else, or by a rule of the bucket",
            hint="Capture again",
        )
    return DestinationError(
        f"{url} answered {_spelled(status, code)}: {said}",
        hint="Look the answer up, or ask its administrator",
    )


def _spelled(status: int, code: str) -> str:
    return str(status) if code == str(status) else f"{status} {code}"


def _about_md5(said: str) -> bool:
    """Some stores that lock objects take no checksum but this, and say it in any code."""
    return "content-md5" in said.lower() and "required" in said.lower()


def _about_locks(code: str, said: str, locking: bool) -> bool:
    """SeaweedFS only calls the request invalid where the bucket has no Object Lock."""
    named = code in _LOCK_MISSING or "Object Lock" in said or "ObjectLock" in said
    return named or (locking and code == "InvalidRequest")
