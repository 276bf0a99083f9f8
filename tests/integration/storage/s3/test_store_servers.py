"""One suite for every S3 server that can be had: what holds on one has to hold on all."""

from __future__ import annotations

import hashlib
import random
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from forensics_core.api.order import ArtifactKind, Retention
from forensics_core.bundle.fetch import fetch
from forensics_core.bundle.verification import Verification
from forensics_core.bundle.verify import verify
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.errors import (
    BucketNotFound,
    DestinationError,
    ObjectExists,
    ObjectNotFound,
    UsageError,
)
from forensics_core.storage.blocks import one
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.storage import open_destination, open_storage
from lab.process import LabError
from lab.seaweed import S3Identity, S3Server
from lab.stores import StoreServer, running_moto, running_s3rver
from tests.bundles import ARCHIVE, capture

# The first may have to install Node.js and s3rver.
pytestmark = [pytest.mark.s3, pytest.mark.timeout(300)]
LARGE = random.Random(1).randbytes(1024 * 1024) * 20  # noqa: S311  # more than one part

ROOT = Path(__file__).parents[4]


@dataclass
class Server:
    """One of the servers, and a bucket on it."""

    name: str
    access: S3Access
    bucket: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/one"


@pytest.fixture(scope="module")
def moto() -> Iterator[StoreServer]:
    with running_moto() as server:
        yield server


@pytest.fixture(scope="module")
def s3rver() -> Iterator[StoreServer]:
    """Install it where that is not done: this never skips."""
    command = [str(ROOT / "lab" / "install.sh"), "s3rver"]
    install = subprocess.run(command, capture_output=True, text=True, check=False)
    assert install.returncode == 0, f"s3rver cannot be installed: {install.stderr}"
    with running_s3rver() as server:
        yield server


@pytest.fixture(params=["s3", "moto", "s3rver"])
async def server(request: pytest.FixtureRequest) -> Server:
    found = request.getfixturevalue(request.param)
    bucket = await found.create_bucket(f"cases-{secrets.token_hex(4)}")
    if isinstance(found, S3Server):
        admin = S3Identity.ADMIN
        keys = (admin.access_key, admin.secret_key)
        return Server("SeaweedFS", S3Access(found.endpoint, "us-east-1", *keys), bucket)
    return Server(found.name, found.access(), bucket)


async def stored(server: Server, archive: bytes = ARCHIVE) -> Verification:
    """Write a bundle as the collector does, and return what `verify` says of it."""
    async with open_destination(server.url, access=server.access) as destination:
        await destination.check()
        bundle = BundleWriter(destination)
        await bundle.add(ArtifactSpec("order.json", ArtifactKind.CONTEXT), one(b"{}"))
        await bundle.probe(b"{}")
        spec = ArtifactSpec("containers/web/rootfs.tar", ArtifactKind.FILESYSTEM, "web")
        await bundle.add(spec, one(archive))
        await bundle.finish(capture())
    return await verify(server.url, access=server.access)


@pytest.mark.parametrize("archive", [ARCHIVE, LARGE], ids=["one request", "parts"])
async def test_a_bundle_is_written_verified_and_fetched(
    server: Server, archive: bytes, tmp_path: Path
) -> None:
    checked = await stored(server, archive)
    assert checked.problems == ()
    await fetch(server.url, tmp_path / "copy", access=server.access)
    assert (tmp_path / "copy/containers/web/rootfs.tar").read_bytes() == archive
    assert (await verify(str(tmp_path / "copy"))).problems == ()


async def test_the_manifest_says_what_the_server_can_do(server: Server) -> None:
    checked = await stored(server)
    assert checked.statement
    told = checked.statement.predicate.store
    assert told
    # s3rver hears no condition: a second PUT of the order was taken, and that is found out.
    assert told.conditional_writes is (server.name != "s3rver")


async def test_what_the_operator_compares_is_there(server: Server) -> None:
    checked = await stored(server)
    assert checked.statement
    async with open_storage(server.url, access=server.access) as store:
        assert isinstance(store, S3Storage)
        listed = {entry.name: entry for entry in await store.list() if entry.latest}
        for artifact in checked.statement.predicate.artifacts:
            found = await store.stat(artifact.name, artifact.version_id)
            assert found.size == artifact.size == listed[artifact.name].size
            digest = hashlib.sha256()
            async with aclosing(store.read(artifact.name, artifact.version_id)) as blocks:
                async for block in blocks:
                    digest.update(block)
            assert digest.hexdigest() == artifact.sha256
    assert {"manifest.json", "SHA256SUMS"} <= listed.keys()


async def test_a_range_is_what_was_asked_for(server: Server) -> None:
    await stored(server, LARGE)
    async with open_storage(server.url, access=server.access) as store:
        for start, length in ((0, 10), (5_000_000, 4096), (len(LARGE) - 5, 50)):
            reading = store.read_range("containers/web/rootfs.tar", start, length)
            async with aclosing(reading) as blocks:
                found = b"".join([block async for block in blocks])
            assert found == LARGE[start : start + length]
        reading = store.read_range("containers/web/rootfs.tar", len(LARGE) + 5, 5)
        async with aclosing(reading) as blocks:
            assert [block async for block in blocks] == []


async def test_what_is_absent_is_called_absent(server: Server) -> None:
    async with open_storage(server.url, access=server.access) as store:
        assert await store.list() == []
        with pytest.raises(ObjectNotFound):
            async with aclosing(store.read("manifest.json")) as blocks:
                await anext(blocks)
    with pytest.raises(BucketNotFound):
        async with open_destination("s3://no-such-bucket", access=server.access) as destination:
            await destination.check()
    checked_exit = (DestinationError, UsageError)
    with pytest.raises(checked_exit) as caught:
        await verify("s3://no-such-bucket/one", access=server.access)
    assert caught.value.exit_code != 3


async def test_a_taken_name_is_refused_where_the_server_can(server: Server) -> None:
    async with open_destination(server.url, access=server.access) as destination:
        for data in (b"1", b"2"):
            async with destination.create("a") as writer:
                await writer.write(data)
                if data == b"2" and server.name != "s3rver":
                    with pytest.raises(ObjectExists):
                        await writer.commit()
                else:
                    await writer.commit()


async def test_a_lock_that_the_bucket_lacks_is_no_damage(server: Server) -> None:
    locked = open_destination(server.url, access=server.access, retention=Retention(days=1))
    try:
        async with locked as destination, destination.create("a") as writer:
            await writer.write(b"1")
            await writer.commit()
    except DestinationError as error:
        assert error.exit_code == 1 and error.hint


def test_a_server_that_was_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="not installed"), running_s3rver(tmp_path / "none"):
        pytest.fail("it runs")
