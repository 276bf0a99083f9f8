"""Credentials for a while, and for one folder only: what a security token service (STS) gives.

A session policy takes rights away from those of the role: with these credentials objects can be
added beneath one prefix, and nothing can be read, listed or removed::

    made = await assume_role(StsAccess("arn:aws:iam::111122223333:role/collector"), request)

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from anyio import to_thread
from botocore import UNSIGNED
from botocore.exceptions import BotoCoreError, ClientError

from forensics_core.errors import AccessDenied, DestinationError, DestinationUnreachable, UsageError
from forensics_core.storage.s3.client import S3Access, trust
from forensics_core.storage.s3.session import make_session

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

MIN_SECONDS, MAX_SECONDS = 900, 43_200
"""Seconds that a session may have."""
ORDINARY = 3_600
"""What every role allows, and all that one allows which is assumed from another."""
TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105 - a variable's name
_ADDS = (
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)
# S3 asks KMS in the caller's name, and has to decrypt parts to join them.
_ENCRYPTS = ("kms:GenerateDataKey", "kms:Decrypt")
# 'The requested DurationSeconds exceeds the MaxSessionDuration set for this role'
_TOO_LONG = "DurationSeconds"


@dataclass(frozen=True, slots=True)
class StsAccess:
    """Which role, and how the service is reached; what is None comes from the AWS environment."""

    role_arn: str
    web_identity: bool = False
    """Whether to exchange the token in `AWS_WEB_IDENTITY_TOKEN_FILE`, in place of signing."""
    endpoint_url: str | None = None
    region: str | None = None
    ca_bundle: str | None = None
    timeout: float = 10.0
    """Seconds for each request."""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """Credentials that are asked for."""

    location: str
    """`s3://bucket/prefix/`: where objects may be added, and nowhere else."""
    name: str
    """What the session is called in the cloud's own records."""
    seconds: int
    """How long they should last; it may be less."""


@dataclass(frozen=True, slots=True)
class SessionCredentials:
    """Credentials that end by themselves."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires: datetime

    def __repr__(self) -> str:
        return f"SessionCredentials(expires={self.expires.isoformat()})"

    def file(self) -> str:
        """Return them as a credentials file, as all AWS tools read it."""
        return (
            "[default]\n"
            f"aws_access_key_id = {self.access_key_id}\n"
            f"aws_secret_access_key = {self.secret_access_key}\n"
            f"aws_session_token = {self.session_token}\n"
        )


def session_policy(role_arn: str, location: str) -> dict[str, Any]:
    """Return the policy that leaves nothing of a role's rights but adding objects at `location`."""
    # `aws`; those of China and of the US government have partitions of their own.
    partition = role_arn.split(":")[1]
    bucket, _, prefix = location.removeprefix("s3://").strip("/").partition("/")
    objects = f"arn:{partition}:s3:::{bucket}/{_literal(f'{prefix}/' if prefix else '')}*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": list(_ADDS), "Resource": objects},
            {"Effect": "Allow", "Action": list(_ENCRYPTS), "Resource": "*"},
        ],
    }


def _literal(text: str) -> str:
    """Return text as policies have it, where `*` and `?` stand for anything and `$` for more."""
    return "".join(f"${{{char}}}" if char in "*?$" else char for char in text)


async def assume_role(access: StsAccess, request: SessionRequest) -> SessionCredentials:
    """Return credentials for one location.

    They last as long as was asked for, or an hour where the role allows no more. Raises
    `AccessDenied` if the role may not be assumed, `DestinationUnreachable`, `UsageError`.
    """
    seconds = min(max(request.seconds, MIN_SECONDS), MAX_SECONDS)
    try:
        return await _assume(access, request, seconds)
    except ClientError as error:
        if seconds <= ORDINARY or not _is_too_long(error):
            raise _refusal(access, error) from error
    try:
        return await _assume(access, request, ORDINARY)
    except ClientError as error:
        raise _refusal(access, error) from error


async def _assume(access: StsAccess, request: SessionRequest, seconds: int) -> SessionCredentials:
    # Without blanks: STS takes 2,048 characters.
    policy = json.dumps(session_policy(access.role_arn, request.location), separators=(",", ":"))
    asked: dict[str, Any] = {
        "RoleArn": access.role_arn,
        "RoleSessionName": request.name,
        "DurationSeconds": seconds,
        "Policy": policy,
    }
    try:
        session = await to_thread.run_sync(_session, access)
        config = AioConfig(
            connect_timeout=access.timeout,
            read_timeout=access.timeout,
            retries={"total_max_attempts": 2},
            # The token is all that proves who asks: there may be no key to sign with.
            signature_version=UNSIGNED if access.web_identity else None,
        )
        verify = trust(S3Access(endpoint_url=access.endpoint_url, ca_bundle=access.ca_bundle))
        async with session.create_client(
            "sts", endpoint_url=access.endpoint_url, config=config, verify=verify
        ) as client:
            if access.web_identity:
                # Read each time: the kubelet writes a new one before the old one expires.
                token = await to_thread.run_sync(_token)
                answer = await client.assume_role_with_web_identity(WebIdentityToken=token, **asked)
            else:
                answer = await client.assume_role(**asked)
    except BotoCoreError as error:
        raise DestinationUnreachable(
            f"No credentials from {access.endpoint_url or 'STS'} for {access.role_arn}: {error}",
            hint="Check stsEndpoint, the operator's own credentials, and its NetworkPolicy",
        ) from error
    return _read(answer)


def _session(access: StsAccess) -> AioSession:
    """Make a session with its models read: reading them would block the loop."""
    session = make_session(S3Access(region=access.region))
    loader = session.get_component("data_loader")
    for name in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model("sts", name)
    return session


def _token() -> str:
    path = os.environ.get(TOKEN_FILE, "")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise UsageError(
            f"There is no web identity token at '{path}' ({TOKEN_FILE}): {error.strerror}",
            hint="See docs/install.md for what the operator's ServiceAccount needs",
        ) from error


def _read(answer: Any) -> SessionCredentials:
    made = answer["Credentials"]
    return SessionCredentials(
        made["AccessKeyId"],
        made["SecretAccessKey"],
        made["SessionToken"],
        made["Expiration"].astimezone(UTC),
    )


def _is_too_long(error: ClientError) -> bool:
    said = error.response["Error"]
    return said["Code"] == "ValidationError" and _TOO_LONG in said.get("Message", "")


def _refusal(access: StsAccess, error: ClientError) -> DestinationError:
    said = error.response["Error"]
    code, status = said["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    message = f"{access.role_arn} cannot be assumed: {code}: {said.get('Message', '')}"
    if status >= 500 or code in {"Throttling", "ThrottlingException", "RequestLimitExceeded"}:
        return DestinationUnreachable(message, hint="It is tried again")
    return AccessDenied(message, hint="The role has to trust the operator: see docs/install.md")
