"""Clients for S3, set up the way that streams fastest.

Endpoint, region and credentials come from where every AWS tool takes them: `AWS_ENDPOINT_URL_S3`,
`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` and so on, profiles, web identity, roles.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import aioboto3
from aiobotocore.config import AioConfig
from anyio import to_thread
from botocore.exceptions import BotoCoreError
from botocore.handlers import add_expect_header

from forensics_core.errors import UsageError
from forensics_core.storage.s3.failures import about_credentials, no_credentials
from forensics_core.storage.s3.renewal import renew
from forensics_core.units import parse_size
from forensics_core.version import __version__

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

CONNECTIONS = 16
"""Connections that one client keeps at most."""


@dataclass(frozen=True, slots=True)
class S3Access:
    """How to reach an S3 service; what is None comes from the AWS environment."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    expected_bucket_owner: str | None = None
    """The account that must own the bucket: a guard against hijacked names."""
    checksum: str | None = None
    """How uploads are checked: `crc64nvme`, `md5`, `none`; `auto` begins with the best, and takes a
    lesser one where the store refuses it. Default: `FORENSICS_S3_CHECKSUM`, or `auto`."""
    acl: bool | None = None
    """Whether objects get the access list `bucket-owner-full-control`. Default: on AWS only."""
    addressing_style: str | None = None
    """`path` or `virtual`. Default: `FORENSICS_S3_ADDRESSING_STYLE`, the profile's, or `path` for
    an endpoint that is named."""
    part_size: int | None = None
    """Bytes of every part, for stores that want all of them alike. Default: parts that grow."""
    patience: float = 30.0
    """Seconds without any progress after which a request is given up and tried again."""
    attempts: int = 6
    """How often a request is tried in all."""


@asynccontextmanager
async def s3_client(access: S3Access) -> AsyncIterator[S3Client]:
    """Open a client; it retries nothing itself.

    Raises `UsageError` for impossible settings, `AccessDenied` where the credentials that they
    name cannot be had.
    """
    try:
        session = await to_thread.run_sync(_session, access)
        profile = await to_thread.run_sync(session._session.get_scoped_config)
        config = _config(access, profile)
        opening = session.client("s3", endpoint_url=access.endpoint_url, config=config)
        client = await opening.__aenter__()
        # Old proxies never send the `100 Continue` that this header asks for.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        if access.access_key_id is None:
            renew(client, await session.get_credentials(), session.profile_name)
    except (ValueError, BotoCoreError) as error:
        if about_credentials(error):
            raise no_credentials(error, access.endpoint_url or "S3") from error
        raise UsageError(
            f"The S3 settings cannot be used: {error}",
            hint="Check AWS_ENDPOINT_URL, AWS_REGION and AWS_PROFILE",
        ) from error
    try:
        yield client
    finally:
        await opening.__aexit__(None, None, None)


def _session(access: S3Access) -> Any:
    """Make a session with its code and data read already: reading them would block the loop."""
    importlib.import_module("aioboto3.s3.inject")
    session = aioboto3.Session(
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        aws_session_token=access.session_token,
        region_name=access.region,
    )
    loader = session._session.get_component("data_loader")
    loader.load_service_model("s3", "service-2")
    _share_endpoints(loader.load_service_model("s3", "endpoint-rule-set-1"))
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    return session


def _share_endpoints(rules: dict[str, Any]) -> None:
    """Have botocore work out a bucket's endpoint once, not again for every object.

    It remembers endpoints by all parameters of its rules, and the key is one that no rule looks at.
    """
    used = json.dumps(rules["rules"])
    for name in ("Key", "Prefix"):
        if f'"ref": "{name}"' not in used:
            rules["parameters"].pop(name, None)


def _config(access: S3Access, profile: dict[str, Any]) -> AioConfig:
    return AioConfig(
        connect_timeout=min(10.0, access.patience),
        # Stalls are watched for where the bytes flow, and some answers take long: `attempts.py`.
        read_timeout=None,
        max_pool_connections=CONNECTIONS,
        # One of our own also saves composing botocore's, which it does twice a request.
        user_agent=f"kube-forensics/{__version__}",
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False, "addressing_style": _style(access, profile)},
    )


def _style(access: S3Access, profile: dict[str, Any]) -> str:
    """Return how buckets are addressed; servers other than AWS rarely answer to `bucket.host`."""
    own = profile.get("s3")
    said = own.get("addressing_style") if isinstance(own, dict) else None
    named = access.addressing_style or os.environ.get("FORENSICS_S3_ADDRESSING_STYLE") or said
    return named or ("path" if endpoint_of(access) else "auto")


def endpoint_of(access: S3Access) -> str:
    """Return the endpoint that was named, here or in the environment; empty for AWS's own."""
    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return access.endpoint_url or next(filter(None, map(os.environ.get, variables)), "")


def from_environ(access: S3Access) -> S3Access:
    """Return how to reach a store, with what the environment says of it where nobody else does.

    Raises `UsageError` for a value that is none.
    """
    checksum = access.checksum or os.environ.get("FORENSICS_S3_CHECKSUM") or "auto"
    if checksum not in {"auto", "crc64nvme", "md5", "none"}:
        raise UsageError(
            f"FORENSICS_S3_CHECKSUM='{checksum}' is no checksum",
            hint="It is auto, crc64nvme, md5 or none",
        )
    size, acl = os.environ.get("FORENSICS_S3_PART_SIZE"), os.environ.get("FORENSICS_S3_ACL")
    try:
        part_size = access.part_size or (parse_size(size) if size else None)
    except ValueError as error:
        raise UsageError(
            f"FORENSICS_S3_PART_SIZE: {error}", hint="Give a size, such as 64MiB"
        ) from error
    own = access.acl if access.acl is not None else {"true": True, "false": False}.get(acl or "")
    return replace(access, checksum=checksum, part_size=part_size, acl=own)
