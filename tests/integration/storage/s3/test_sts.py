"""Credentials for a while and for one folder, from a token service that speaks AWS's protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forensics_core.errors import AccessDenied, DestinationUnreachable, UsageError
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.sts import (
    SessionCredentials,
    SessionRequest,
    StsAccess,
    assume_role,
    session_policy,
)
from forensics_core.storage.storage import Storage, open_storage
from lab import seaweed
from lab.seaweed import s3_server
from tests.integration.storage.s3.sts_server import ROLE, Sts, sts_server

REQUEST = SessionRequest("s3://cases/forensics/one_1/", "forensics-5df8120f-1", 4020)
KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
async def sts(use_env: Callable[[Mapping[str, str]], None]) -> AsyncIterator[Sts]:
    use_env(KEYS)
    async with sts_server() as server:
        yield server


def access(sts: Sts, *, web_identity: bool = False) -> StsAccess:
    return StsAccess(ROLE, web_identity, endpoint_url=sts.url, region="us-east-1", timeout=5)


async def test_credentials_are_for_one_folder_and_as_long_as_asked_for(sts: Sts) -> None:
    made = await assume_role(access(sts), REQUEST)
    assert 3900 < (made.expires - datetime.now(UTC)).total_seconds() <= 4020
    assert made.file() == (
        "[default]\naws_access_key_id = ASIASCOPED\naws_secret_access_key = short\n"
        "aws_session_token = scoped\n"
    )
    (asked,) = sts.asked
    assert (asked["Action"], asked["RoleSessionName"]) == ("AssumeRole", "forensics-5df8120f-1")
    policy = json.loads(asked["Policy"])
    assert policy == session_policy(ROLE, REQUEST.location)
    adds, encrypts = policy["Statement"]
    assert adds["Resource"] == "arn:aws:s3:::cases/forensics/one_1/*"
    granted = {action for one in (adds, encrypts) for action in one["Action"]}
    assert not {action for action in granted if "Get" in action or "Delete" in action}
    assert len(asked["Policy"]) < 2048, "more is refused"


def test_no_secret_shows_where_credentials_are_printed() -> None:
    made = SessionCredentials("A", "short", "scoped", datetime.now(UTC))
    assert "short" not in repr(made) and "scoped" not in str(made)


def test_a_folder_that_looks_like_a_pattern_is_itself_alone() -> None:
    policy = session_policy("arn:aws-cn:iam::1:role/r", "s3://cases/a*b/c$d/")
    assert policy["Statement"][0]["Resource"] == "arn:aws-cn:s3:::cases/a${*}b/c${$}d/*"
    bucket = session_policy(ROLE, "s3://cases/")
    assert bucket["Statement"][0]["Resource"] == "arn:aws:s3:::cases/*"


@pytest.mark.parametrize(("asked", "granted"), [(1, 900), (100_000, 43_200)])
async def test_durations_stay_within_what_the_service_takes(
    sts: Sts, asked: int, granted: int
) -> None:
    await assume_role(access(sts), replace(REQUEST, seconds=asked))
    assert sts.asked[-1]["DurationSeconds"] == str(granted)


async def test_a_role_that_allows_an_hour_gives_an_hour(sts: Sts) -> None:
    sts.longest = 3600
    made = await assume_role(access(sts), REQUEST)
    assert (made.expires - datetime.now(UTC)).total_seconds() <= 3600
    assert [one["DurationSeconds"] for one in sts.asked] == ["4020", "3600"]


async def test_the_operators_token_is_exchanged_without_a_signature(
    sts: Sts, tmp_path: Path, use_env: Callable[[Mapping[str, str]], None]
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{sts.token}\n")
    use_env({"AWS_WEB_IDENTITY_TOKEN_FILE": str(file)})
    await assume_role(access(sts, web_identity=True), REQUEST)
    assert sts.asked[-1]["Action"] == "AssumeRoleWithWebIdentity"
    file.write_text("another")
    with pytest.raises(AccessDenied, match="InvalidIdentityToken"):
        await assume_role(access(sts, web_identity=True), REQUEST)


async def test_a_token_that_is_not_there_is_named(
    sts: Sts, use_env: Callable[[Mapping[str, str]], None]
) -> None:
    use_env({"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere/token"})
    with pytest.raises(UsageError, match="no web identity token at '/nowhere/token'"):
        await assume_role(access(sts, web_identity=True), REQUEST)


async def test_a_role_that_does_not_trust_is_an_access_denied(sts: Sts) -> None:
    other = replace(access(sts), role_arn="arn:aws:iam::111122223333:role/other")
    with pytest.raises(AccessDenied, match=r"role/other cannot be assumed: AccessDenied.*trust"):
        await assume_role(other, REQUEST)


async def test_a_role_that_allows_not_even_an_hour_is_refused(sts: Sts) -> None:
    sts.longest = 900
    with pytest.raises(AccessDenied, match="MaxSessionDuration"):
        await assume_role(access(sts), REQUEST)


async def test_a_service_that_is_away_is_unreachable(sts: Sts) -> None:
    sts.away = True
    with pytest.raises(DestinationUnreachable, match="ServiceUnavailable"):
        await assume_role(access(sts), REQUEST)
    nobody = replace(access(sts), endpoint_url="http://127.0.0.1:9")
    with pytest.raises(DestinationUnreachable, match="Check stsEndpoint"):
        await assume_role(nobody, REQUEST)


async def test_on_a_real_store_they_add_to_one_folder_and_do_nothing_else(
    use_env: Callable[[Mapping[str, str]], None],
) -> None:
    async with s3_server(roles=True) as server:
        use_env(server.env())
        await server.create_bucket("cases", policy={})
        service = StsAccess(seaweed.ROLE, endpoint_url=server.endpoint, region="us-east-1")
        made = await assume_role(service, replace(REQUEST, location="s3://cases/a/one_1/"))
        keys = S3Access(
            endpoint_url=server.endpoint,
            access_key_id=made.access_key_id,
            secret_access_key=made.secret_access_key,
            session_token=made.session_token,
        )
        async with open_storage("s3://cases/a/one_1", access=keys) as own:
            await put(own, 3 * 1024**2)
            await put(own, 20 * 1024**2)
            with pytest.raises(AccessDenied):
                await own.stat("3145728")
        for other in ("s3://cases/a/two_1", "s3://cases/a/one_10", "s3://cases"):
            async with open_storage(other, access=keys) as elsewhere:
                with pytest.raises(AccessDenied):
                    await put(elsewhere, 10)


async def put(destination: Storage, size: int) -> None:
    async with destination.create(str(size)) as writer:
        await writer.write(b"x" * size)
        await writer.commit()
