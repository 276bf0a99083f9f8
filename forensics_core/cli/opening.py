"""Opening the bundle that a command is to read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forensics_core.bundle.reader import BundleReader


@asynccontextmanager
async def opened(location: str, owner: str | None) -> AsyncIterator[BundleReader]:
    """Open what lies at `location`, in a bucket of the account `owner` if it is given."""
    from forensics_core.bundle.reader import open_bundle
    from forensics_core.storage.s3.client import S3Access

    async with open_bundle(location, access=S3Access(expected_bucket_owner=owner)) as bundle:
        yield bundle
