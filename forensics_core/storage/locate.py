"""From a URL to the place that it names."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forensics_core.api.order import Encryption, Retention
from forensics_core.errors import UsageError
from forensics_core.storage.budget import ByteBudget
from forensics_core.storage.destination import Destination
from forensics_core.storage.folder import FolderDestination
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.destination import S3Place, open_s3

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
"""What any store takes. `require_fit` knows what AWS takes."""
MAX_PREFIX = 512
"""Bytes of a prefix: half of a key is left for what lies in it."""
_FORMS = "It is s3://bucket[/prefix] or file:///folder"


def parse_location(url: str) -> S3Place | Path:
    """Return the bucket and prefix, or the folder, that `url` names; a bare path is a folder.

    Raises `UsageError` that says what is wrong with it.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"'{url}' is no location: {error}", hint=_FORMS) from error
    if not parts.scheme:
        return Path(url).absolute()
    if parts.scheme == "file":
        return _folder(url, parts.netloc, unquote(parts.path))
    if parts.scheme == "s3":
        return _s3_place(url, parts.netloc, url.partition("://")[2].partition("/")[2])
    raise UsageError(f"'{url}' is no location that evidence can go to", hint=_FORMS)


def _folder(url: str, host: str, path: str) -> Path:
    if host not in {"", "localhost"} or not path.startswith("/"):
        raise UsageError(f"'{url}' names no folder on this machine", hint=_FORMS)
    return Path(path)


def _s3_place(url: str, bucket: str, prefix: str) -> S3Place:
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"'{url}' names no S3 bucket ('{bucket}')", hint=_FORMS)
    prefix = prefix.strip("/")
    if len(prefix.encode()) > MAX_PREFIX or "//" in prefix:
        raise UsageError(f"'{url}' has a prefix that cannot be used", hint=_FORMS)
    return S3Place(bucket, prefix)


@asynccontextmanager
async def open_destination(
    url: str,
    *,
    access: S3Access | None = None,
    retention: Retention | None = None,
    encryption: Encryption | None = None,
    budget: ByteBudget | None = None,
) -> AsyncIterator[Destination]:
    """Open the place that `url` names for writing.

    `access`, `retention`, `encryption` and `budget` concern S3; a folder that is asked to lock or
    encrypt raises `UsageError`, because it cannot.
    """
    place = parse_location(url)
    if isinstance(place, S3Place):
        async with open_s3(
            place,
            access or S3Access(),
            retention=retention,
            encryption=encryption,
            budget=budget,
        ) as destination:
            yield destination
        return
    if retention or encryption:
        raise UsageError(
            f"{url} is a folder: it has neither Object Lock nor KMS",
            hint="Use an s3:// destination, or ask for neither",
        )
    yield FolderDestination(place)
