"""What is set for a store, and what it turns out to ignore."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web

from forensics_core.api.order import ArtifactKind, Retention
from forensics_core.bundle.verify import verify
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.errors import DestinationError, ObjectLockMissing, UsageError
from forensics_core.storage.blocks import one
from forensics_core.storage.s3.client import EQUAL_PART, S3Access, from_environ, s3_client
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.s3.traits import Traits
from forensics_core.storage.storage import open_destination, open_storage
from lab.certificate import make_certificate
from lab.sink import running_sink
from tests.bundles import capture
from tests.integration.storage.s3.odd_store import OddStore, error, odd_store

LARGE = random.Random(1).randbytes(1024 * 1024) * 20  # noqa: S311  # more than one part


@asynccontextmanager
async def opened(store: OddStore) -> AsyncIterator[S3Storage]:
    async with open_destination("s3://cases/one", access=store.access()) as destination:
        assert isinstance(destination, S3Storage)
        yield destination


async def put(destination: Any, name: str, data: bytes) -> None:
    async with destination.create(name) as writer:
        await writer.write(data)
        await writer.commit()


async def test_a_condition_that_is_ignored_is_found_out_and_told() -> None:
    async with odd_store(OddStore(conditions=False)) as store, opened(store) as destination:
        await put(destination, "order.json", b"{}")
        await destination.probe("order.json", b"{}")
        assert destination.store["conditional_writes"] is False
        await put(destination, "next", b"1")
    *_, (_, _, headers) = store.requests
    assert "if-none-match" not in headers, "what is ignored is not asked for"


@pytest.mark.parametrize("heard", [True, False])
async def test_the_manifest_says_whether_the_store_refuses_to_replace(heard: bool) -> None:
    async with odd_store(OddStore(conditions=heard)) as store:
        async with opened(store) as destination:
            bundle = BundleWriter(destination)
            await bundle.add(ArtifactSpec("order.json", ArtifactKind.CONTEXT), one(b"{}"))
            await bundle.probe(b"{}")
            await bundle.finish(capture())
        checked = await verify("s3://cases/one", access=store.access())
    assert checked.problems == () and checked.statement
    told = checked.statement.predicate.store
    assert told and told.conditional_writes is heard


async def test_a_condition_that_holds_is_tried_once_and_changes_nothing() -> None:
    async with odd_store(OddStore()) as store, opened(store) as destination:
        await put(destination, "order.json", b"{}")
        assert await destination.probe("order.json", b"[]") is None
        assert destination.store["conditional_writes"] is True
    assert store.objects["one/order.json"] == b"{}"


async def test_a_probe_that_is_refused_for_another_reason_proves_nothing() -> None:
    tries: list[str] = []

    def once(request: web.Request) -> web.Response | None:
        tries.append(request.path)
        return error(403, "AccessDenied", "no") if len(tries) == 2 else None

    async with odd_store(OddStore([once])) as store, opened(store) as destination:
        await put(destination, "order.json", b"{}")
        await destination.probe("order.json", b"{}")
        assert destination.store["conditional_writes"] is True


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["one request", "parts"])
async def test_sha256_is_sent_with_every_part_and_told_at_the_end(data: bytes) -> None:
    async with odd_store(OddStore()) as store:
        access = store.access(checksum="sha256")
        async with open_destination("s3://cases/one", access=access) as destination:
            await put(destination, "a", data)
    uploads = [headers for method, _, headers in store.requests if method == "PUT"]
    for headers in uploads:
        assert headers["x-amz-checksum-sha256"]
        assert not any(name.startswith("x-amz-checksum-crc") for name in headers)
    if data == b"small":
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        assert uploads[0]["x-amz-checksum-sha256"] == digest
    assert store.objects["one/a"] == data


class Together:
    """A store that holds two parts back until both are there, and then refuses both."""

    def __init__(self, code: str, message: str) -> None:
        self.refused = 0
        self.both = anyio.Event()
        self._said = (code, message)

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        if "partNumber" not in request.query or "x-amz-checksum-crc64nvme" not in request.headers:
            return None
        self.refused += 1
        if self.refused >= 2:
            self.both.set()
        await self.both.wait()
        return error(400, *self._said)


@pytest.mark.parametrize(
    "said",
    [("InvalidRequest", "unknown checksum"), ("NotImplemented", "A header is not implemented")],
    ids=["named", "unnamed"],
)
async def test_parts_that_are_refused_at_once_step_down_once(said: tuple[str, str]) -> None:
    together = Together(*said)
    async with odd_store(OddStore([together.answer])) as store, opened(store) as destination:
        await put(destination, "a", LARGE)
        assert destination.store == {"checksum": "md5", "conditional_writes": True}
    assert together.refused >= 2
    assert store.objects["one/a"] == LARGE


MD5_NEEDED = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests with ..."


def needs_md5(request: web.Request) -> web.Response | None:
    locked = "x-amz-object-lock-mode" in request.headers and request.method == "PUT"
    missing = locked and "Content-MD5" not in request.headers
    return error(400, "InvalidRequest", MD5_NEEDED + "Object Lock parameters") if missing else None


async def test_a_lock_that_needs_content_md5_gets_it() -> None:
    async with odd_store(OddStore([needs_md5])) as store:
        access, lock = store.access(), Retention(days=1)
        async with open_destination("s3://cases", access=access, retention=lock) as destination:
            await put(destination, "a", b"1")
    assert store.objects["a"] == b"1"


async def test_a_lock_that_needs_content_md5_is_not_called_missing() -> None:
    async with odd_store(OddStore([needs_md5])) as store:
        access, lock = store.access(checksum="crc64nvme"), Retention(days=1)
        with pytest.raises(DestinationError, match="Content-MD5") as caught:
            async with open_destination("s3://cases", access=access, retention=lock) as destination:
                await put(destination, "a", b"1")
    assert not isinstance(caught.value, ObjectLockMissing)
    assert "FORENSICS_S3_CHECKSUM" in (caught.value.hint or "")


async def test_odd_bucket_names_are_taken_where_an_endpoint_is_named() -> None:
    async with odd_store(OddStore()) as store:
        for bucket in ("Cases", "my_cases", "CASES_2026.old"):
            async with open_destination(f"s3://{bucket}/a", access=store.access()) as destination:
                await put(destination, bucket, b"1")
    assert len(store.objects) == 3


async def test_odd_bucket_names_are_none_of_aws() -> None:
    for bucket in ("Cases", "my_cases", "x" * 64):
        with pytest.raises(UsageError, match=bucket) as caught:
            async with open_destination(
                f"s3://{bucket}", access=S3Access(None, "us-east-1", "k", "s")
            ):
                pytest.fail("it was opened")
        with pytest.raises(UsageError, match=bucket):
            async with open_storage(f"s3://{bucket}", access=S3Access(None, "us-east-1", "k", "s")):
                pytest.fail("it was opened")
        assert "AWS_ENDPOINT_URL" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("endpoint", "acl"),
    [
        ("https://s3.eu-central-1.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://evil-amazonaws.com", False),
        ("https://storage.googleapis.com", False),
    ],
)
def test_only_aws_is_sent_an_access_list_unasked(endpoint: str, acl: bool) -> None:
    assert Traits.of(S3Access(), endpoint).acl is acl


async def test_the_endpoint_of_a_profile_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with odd_store(OddStore()) as store:
        file = tmp_path / "config"
        file.write_text(f"[profile odd]\nregion = us-east-1\nendpoint_url = {store.endpoint}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
        monkeypatch.setenv("AWS_PROFILE", "odd")
        access = S3Access(access_key_id="k", secret_access_key="s")  # noqa: S106
        async with open_destination("s3://cases", access=access) as destination:
            await put(destination, "a", b"1")
    assert "x-amz-acl" not in store.requests[0][2]


def test_r2_gets_equal_parts_unasked() -> None:
    r2 = S3Access("https://0123.r2.cloudflarestorage.com")
    assert from_environ(r2).part_size == EQUAL_PART
    assert from_environ(S3Access("https://s3.example")).part_size is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FORENSICS_S3_ACL", "maybe"),
        ("FORENSICS_S3_PART_SIZE", "1MiB"),
        ("FORENSICS_S3_PART_SIZE", "5GiB"),
    ],
)
def test_settings_that_no_store_takes(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name):
        from_environ(S3Access())


async def test_a_store_with_its_own_authority_is_trusted_by_its_file(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with running_sink(tls=certificate) as sink:
        access = S3Access(
            sink.endpoint, "us-east-1", "k", "s", attempts=1, ca_bundle=str(certificate.path)
        )
        async with open_destination("s3://cases", access=access) as destination:
            await put(destination, "a", b"1")
        assert sink.count("PutObject") == 1


async def test_a_store_with_an_unknown_authority_names_the_variable(tmp_path: Path) -> None:
    with running_sink(tls=make_certificate(tmp_path)) as sink:
        access = S3Access(sink.endpoint, "us-east-1", "k", "s", attempts=1)
        with pytest.raises(DestinationError) as caught:
            async with open_destination("s3://cases", access=access) as destination:
                await put(destination, "a", b"1")
    assert "AWS_CA_BUNDLE" in (caught.value.hint or "")


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_authorities_that_cannot_be_used_are_named(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    with pytest.raises(UsageError, match=r"ca\.pem"):
        async with s3_client(S3Access("https://127.0.0.1:1", "us-east-1", "k", "s")):
            pytest.fail("it was opened")


async def test_nothing_is_probed_where_the_condition_was_given_up_already() -> None:
    async with odd_store(OddStore(conditions=False)) as store, opened(store) as destination:
        await put(destination, "order.json", b"{}")
        await destination.probe("order.json", b"{}")
        asked = len(store.requests)
        assert await destination.probe("order.json", b"{}") is None
        assert len(store.requests) == asked
