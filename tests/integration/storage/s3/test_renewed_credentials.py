"""Credentials that are written anew while evidence is on its way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from aiohttp import web
from blockbuster import BlockBuster

from forensics_core.errors import AccessDenied
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.storage import open_destination, open_storage
from tests.integration.storage.s3.odd_store import OddStore, error, odd_store

MIB = 1024 * 1024
PLACE = "s3://cases/one"


class Rotation:
    """A file of credentials, and a store that takes what is valid."""

    def __init__(self, file: Path, status: int, code: str) -> None:
        self.file = file
        self.valid = "OLD"
        self.refused = 0
        self._answer = (status, code)
        self.write("OLD")

    def write(self, key: str) -> None:
        self.file.write_text(
            f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n"
            f"aws_session_token = of-{key}\n"
        )

    def check(self, request: web.Request) -> web.Response | None:
        if f"Credential={self.valid}/" in request.headers["Authorization"]:
            return None
        self.refused += 1
        return error(*self._answer, "The provided token has expired")


@pytest.fixture
def rotation(request: pytest.FixtureRequest, use_file: Callable[[], Path]) -> Rotation:
    status, code = getattr(request, "param", (403, "AccessDenied"))
    return Rotation(use_file(), status, code)


@pytest.fixture(autouse=True)
def first_look(blockbuster: BlockBuster) -> None:
    """Let botocore read the file where it opens the client, once; ours is read in a thread."""
    for name in ("os.stat", "io.TextIOWrapper.read", "io.BufferedReader.read"):
        if name in blockbuster.functions:
            blockbuster.functions[name].can_block_in("botocore/configloader.py", "raw_config_parse")


@pytest.fixture
def use_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    def use() -> Path:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        return tmp_path / "credentials"

    return use


def reach(store: OddStore) -> S3Access:
    return S3Access(store.endpoint, "us-east-1", progress_timeout=5.0, attempts=2)


@pytest.mark.parametrize(
    "rotation",
    [(400, "ExpiredToken"), (403, "AccessDenied"), (403, "InvalidAccessKeyId")],
    indirect=True,
)
async def test_an_upload_survives_that_its_credentials_are_replaced(rotation: Rotation) -> None:
    async with (
        odd_store(OddStore([rotation.check])) as store,
        open_destination(PLACE, access=reach(store)) as destination,
        destination.create("large") as writer,
    ):
        await writer.write(bytes(9 * MIB))
        rotation.write("NEW")
        rotation.valid = "NEW"
        for _ in range(3):  # several parts at once, all signed with what is old
            await writer.write(bytes(8 * MIB))
        stored = await writer.commit()
        assert len(store.objects["one/large"]) == stored.size == 33 * MIB
    assert rotation.refused


async def test_reading_survives_it_too(rotation: Rotation) -> None:
    async with odd_store(OddStore([rotation.check])) as store:
        store.objects["one/a"] = b"content"
        async with open_storage(PLACE, access=reach(store)) as opened:
            assert [entry.name for entry in await opened.list()] == ["a"]
            rotation.write("NEW")
            rotation.valid = "NEW"
            async with aclosing(opened.read("a")) as blocks:
                assert b"".join([block async for block in blocks]) == b"content"
    assert rotation.refused == 1


@pytest.mark.parametrize("left", ["OLD", "half", None])
async def test_a_refusal_stays_one_where_the_file_has_nothing_new(
    rotation: Rotation, left: str | None
) -> None:
    async with (
        odd_store(OddStore([rotation.check])) as store,
        open_destination(PLACE, access=reach(store)) as destination,
    ):
        rotation.valid = "NEW"
        if left is None:
            rotation.file.unlink()
        elif left == "half":
            rotation.file.write_text("[default]\naws_access_key_id = NEW\n")
        with pytest.raises(AccessDenied):
            async with destination.create("a") as writer:
                await writer.write(b"1")
                await writer.commit()
    assert rotation.refused == 1


async def test_a_file_that_changes_at_every_look_is_not_followed_for_ever(
    rotation: Rotation,
) -> None:
    written = iter(range(1000))

    def check(request: web.Request) -> web.Response | None:
        rotation.write(f"KEY{next(written)}")
        return rotation.check(request)

    rotation.valid = "none"
    async with (
        odd_store(OddStore([check])) as store,
        open_destination(PLACE, access=reach(store)) as destination,
    ):
        with pytest.raises(AccessDenied):
            async with destination.create("a") as writer:
                await writer.write(b"1")
                await writer.commit()
    assert rotation.refused == 4


async def test_a_connection_that_breaks_is_no_refusal(rotation: Rotation) -> None:
    broken: list[str] = []

    def cut(request: web.Request) -> web.Response | None:
        if not broken and request.transport:
            broken.append(request.path)
            request.transport.abort()
        return None

    async with (
        odd_store(OddStore([cut, rotation.check])) as store,
        open_destination(PLACE, access=reach(store)) as destination,
        destination.create("a") as writer,
    ):
        await writer.write(b"1")
        await writer.commit()
        assert store.objects["one/a"] == b"1"
