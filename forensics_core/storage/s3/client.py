"""Clients for S3, set up the way that streams fastest.

Endpoint, region and credentials come from where every AWS tool takes them: `AWS_ENDPOINT_URL_S3`,
`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` and so on, profiles, web identity, roles.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

from aiobotocore.config import AioConfig
from anyio import to_thread
from botocore.exceptions import BotoCoreError
from botocore.handlers import add_expect_header

from forensics_core._internal.units import parse_size
from forensics_core.errors import UsageError
from forensics_core.storage.budget import MIB
from forensics_core.storage.objects import MAX_ENTRIES, Traffic
from forensics_core.storage.s3.answers import AnswerSession, bound_redirects, count_answers
from forensics_core.storage.s3.endpoints import remember_endpoints
from forensics_core.storage.s3.failures import about_credentials, no_credentials
from forensics_core.storage.s3.handlers import leave_out_idle_handlers
from forensics_core.storage.s3.renewal import renew
from forensics_core.storage.s3.session import make_session
from forensics_core.version import __version__

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

CONNECTIONS = 16
"""Connections that one client keeps at most."""
CHECKSUMS = ("auto", "crc64nvme", "sha256", "md5", "none")
SMALLEST_PART, LARGEST_PART = 5 * MIB, 1024 * MIB
"""Bytes of a part that is chosen: S3 takes no less, and a part is held in memory."""
EQUAL_PART = 32 * MIB
"""Bytes of every part where all have to be alike and nobody chose: objects of 312 GiB fit."""
_EQUAL_PARTS = (".r2.cloudflarestorage.com",)
"""Hosts of stores that refuse to join parts of different sizes."""
_ACL = {"auto": None, "true": True, "false": False}


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
    """How uploads are checked: `crc64nvme`, `sha256`, `md5`, `none`; `auto` begins with the best,
    and takes a lesser one where the store refuses it. Default: `FORENSICS_S3_CHECKSUM`, or
    `auto`."""
    acl: bool | None = None
    """Whether objects get the access list `bucket-owner-full-control`. Default:
    `FORENSICS_S3_ACL`, or on AWS only."""
    addressing_style: str | None = None
    """`path` or `virtual`. Default: `FORENSICS_S3_ADDRESSING_STYLE`, the profile's, or `path` for
    an endpoint that is named."""
    part_size: int | None = None
    """Bytes of every part, for stores that want all of them alike. Default:
    `FORENSICS_S3_PART_SIZE`, or parts that grow, except on R2."""
    ca_bundle: str | None = None
    """A PEM file with the authorities that are trusted. Default: `AWS_CA_BUNDLE`."""
    progress_timeout: float = 30.0
    """Seconds without any progress after which a request is given up and tried again."""
    attempts: int = 6
    """How often a request is tried in all."""
    settling: float = 300.0
    """Seconds that an object of many parts may take to appear after the store stopped answering."""
    joining: float = 0.05
    """Seconds more for each part, while a store puts an object's parts together."""
    aborting: float = 10.0
    """Seconds that a cancelled upload may take to begin, so that it can be aborted, and to end."""
    max_parts: int = 10_000
    """Parts of an object at most, of which S3 takes so many."""
    max_objects: int = MAX_ENTRIES
    """Objects beneath a location that a listing may find: more are no bundle."""
    traffic: Traffic | None = field(default=None, compare=False)
    """Counts what comes from the store, for whoever wants to know."""


@asynccontextmanager
async def s3_client(access: S3Access) -> AsyncIterator[S3Client]:
    """Open a client; it retries nothing itself.

    Raises `UsageError` for impossible settings, `AccessDenied` where the credentials that they
    name cannot be had.
    """
    try:
        session = await to_thread.run_sync(make_session, access)
        profile = await to_thread.run_sync(session.get_scoped_config)
        config = _config(access, profile)
        await to_thread.run_sync(_require_authorities, access, profile)
        opening = session.create_client(
            "s3", endpoint_url=access.endpoint_url, config=config, verify=trust(access)
        )
        client = await opening.__aenter__()
        # Old proxies never send the `100 Continue` that this header asks for.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        bound_redirects(client)
        remember_endpoints(client)
        leave_out_idle_handlers(client)
        if access.traffic:
            count_answers(client, access.traffic)
        # Keys that were given in so many words have no file that could be read again.
        if access.access_key_id is None:
            renew(client, await session.get_credentials(), session.profile)
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


def _config(access: S3Access, profile: dict[str, Any]) -> AioConfig:
    return AioConfig(
        connect_timeout=min(10.0, access.progress_timeout),
        # Stalls are watched for where the bytes flow, and some answers take long: `retries.py`.
        read_timeout=None,
        max_pool_connections=CONNECTIONS,
        # One of our own also saves composing botocore's, which it does twice a request.
        user_agent=f"kube-forensics/{__version__}",
        http_session_cls=AnswerSession,
        # Ours retry, as only they know what a lost answer means for what is being written.
        retries={"total_max_attempts": 1},
        # Botocore would add a CRC-32 in a trailer, which costs CPU, and which other stores refuse;
        # we send a better one in a header.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Signing the payload would hash every byte once more, before the first is sent. A checksum
        # of our own goes along, which the signature covers.
        s3={"payload_signing_enabled": False, "addressing_style": _style(access, profile)},
    )


def _style(access: S3Access, profile: dict[str, Any]) -> str:
    """Return how buckets are addressed; servers other than AWS rarely answer to `bucket.host`."""
    own = profile.get("s3")
    said = own.get("addressing_style") if isinstance(own, dict) else None
    named = access.addressing_style or os.environ.get("FORENSICS_S3_ADDRESSING_STYLE") or said
    return named or ("path" if endpoint_of(access) or profile.get("endpoint_url") else "auto")


def _require_authorities(access: S3Access, profile: dict[str, Any]) -> None:
    """Raise `UsageError` for a file of authorities that cannot be used.

    Botocore only finds that out at the first request, and then blames the connection.
    """
    path = access.ca_bundle or os.environ.get("AWS_CA_BUNDLE") or profile.get("ca_bundle")
    if not path or urlsplit(endpoint_of(access)).scheme == "http":
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # An `SSLError` is one: the file holds no certificate.
        raise UsageError(
            f"The authorities in '{path}' cannot be used: {error}",
            hint="Name a PEM file in AWS_CA_BUNDLE, or in the destination's settings",
        ) from error


def trust(access: S3Access) -> str | Literal[False] | None:
    """Return whose certificates are believed; None: the usual ones, False: none is shown.

    Without TLS, certificates would be read for nothing, which takes as long as twenty requests.
    """
    plain = urlsplit(endpoint_of(access)).scheme == "http" and "http" not in getproxies()
    return False if plain else access.ca_bundle


def endpoint_of(access: S3Access) -> str:
    """Return the endpoint that was named, here or in the environment; empty for AWS's own."""
    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return access.endpoint_url or next(filter(None, map(os.environ.get, variables)), "")


def from_environ(access: S3Access) -> S3Access:
    """Return how to reach a store, with what the environment says of it where nobody else does.

    Raises `UsageError` for a value that is none.
    """
    checksum = access.checksum or os.environ.get("FORENSICS_S3_CHECKSUM") or "auto"
    if checksum not in CHECKSUMS:
        raise UsageError(
            f"FORENSICS_S3_CHECKSUM='{checksum}' is not a known checksum",
            hint=f"It is one of {', '.join(CHECKSUMS)}",
        )
    acl = _acl() if access.acl is None else access.acl
    return replace(access, checksum=checksum, part_size=_part_size(access), acl=acl)


def _acl() -> bool | None:
    said = os.environ.get("FORENSICS_S3_ACL") or "auto"
    if said not in _ACL:
        raise UsageError(
            f"FORENSICS_S3_ACL='{said}' is not a valid choice", hint="It is true or false"
        )
    return _ACL[said]


def _part_size(access: S3Access) -> int | None:
    said = os.environ.get("FORENSICS_S3_PART_SIZE")
    try:
        size = access.part_size or (parse_size(said) if said else None)
        if size is not None and not SMALLEST_PART <= size <= LARGEST_PART:
            raise ValueError("a part has 5 MiB to 1 GiB")
    except ValueError as error:
        raise UsageError(
            f"FORENSICS_S3_PART_SIZE: {error}", hint="Give a size, such as 64MiB"
        ) from error
    host = urlsplit(endpoint_of(access)).hostname or ""
    return size or (EQUAL_PART if host.endswith(_EQUAL_PARTS) else None)
