"""The stage that every test of the operator plays on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from forensics_core.storage.s3.client import S3Access
from lab.seaweed import S3Identity, S3Server
from tests.integration.operator.stage import Stage, open_stage


@pytest.fixture
def admin(s3: S3Server, use_env: Callable[[Mapping[str, str]], None]) -> S3Access:
    """The identity that may do everything, in the environment, too."""
    env = s3.env(S3Identity.ADMIN)
    use_env(env)
    return S3Access(
        endpoint_url=s3.endpoint,
        region="us-east-1",
        access_key_id=env["AWS_ACCESS_KEY_ID"],
        secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


@pytest.fixture
async def stage(admin: S3Access, bucket: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """A cluster with one pod, a bucket, and an operator's settings; no operator runs yet."""
    async with open_stage(bucket, admin, tmp_path) as opened:
        yield opened


@pytest.fixture
async def versioned_stage(
    admin: S3Access, locked_bucket: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    """The same, with a bucket that has versions."""
    async with open_stage(locked_bucket, admin, tmp_path) as opened:
        yield opened
