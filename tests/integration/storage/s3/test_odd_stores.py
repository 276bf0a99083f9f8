"""Stores that are not AWS: what is peculiar is worked around or told, and no evidence is blamed."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Statement
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.verify import verify
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.errors import DestinationError, UsageError
from forensics_core.storage.blocks import one
from forensics_core.storage.s3.client import from_environ, s3_client
from forensics_core.storage.storage import open_destination, open_storage
from tests.bundles import ARCHIVE, capture
from tests.integration.storage.s3.odd_store import OddStore, error, odd_store, refuses

LARGE = random.Random(1).randbytes(1024 * 1024) * 20  # noqa: S311  # more than one part
NOT_THERE = "A header you provided implies functionality that is not implemented"


async def stored(store: OddStore, archive: bytes = ARCHIVE, **access: object) -> Statement:
    """Write a bundle, read it back, and return its manifest."""
    reach = store.access(**access)
    async with open_destination("s3://cases/one", access=reach) as destination:
        bundle = BundleWriter(destination)
        await bundle.add(
            ArtifactSpec("containers/web/a.json", ArtifactKind.INSPECT, "web"), one(b"{}")
        )
        spec = ArtifactSpec("containers/web/rootfs.tar", ArtifactKind.FILESYSTEM, "web")
        await bundle.add(spec, one(archive))
        await bundle.finish(capture())
    checked = await verify("s3://cases/one", access=reach)
    assert checked.problems == ()
    async with open_bundle("s3://cases/one", access=reach) as opened:
        return opened.statement


REFUSALS = {
    "checksum": refuses("x-amz-checksum", 400, "InvalidArgument", "Unsupported checksum header"),
    "condition": refuses("if-none-match", 501, "NotImplemented", NOT_THERE, Header="If-None-Match"),
    "unnamed": refuses("x-amz-checksum", 501, "NotImplemented", NOT_THERE),
}


@pytest.mark.parametrize("archive", [ARCHIVE[:1000], LARGE], ids=["one request", "parts"])
@pytest.mark.parametrize("name", REFUSALS)
async def test_what_a_store_refuses_is_left_out_and_told(name: str, archive: bytes) -> None:
    async with odd_store(OddStore([REFUSALS[name]])) as store:
        told = (await stored(store, archive)).predicate.store
    assert told is not None
    if name == "condition":
        assert not told.conditional_writes and told.checksum == "crc64nvme"
    else:
        assert told.checksum == "md5" and told.conditional_writes


async def test_a_demand_is_refused_once_and_not_for_every_object() -> None:
    refused = []

    def refuse(request: web.Request) -> web.Response | None:
        if "x-amz-checksum-crc64nvme" in request.headers:
            refused.append(request.path)
            return error(400, "InvalidRequest", "x-amz-checksum-crc64nvme is unknown")
        return None

    async with odd_store(OddStore([refuse])) as store:
        await stored(store)
    assert len(refused) == 1


async def test_no_checksum_where_none_is_taken() -> None:
    refusals = [
        REFUSALS["checksum"],
        refuses("content-md5", 400, "InvalidRequest", "Content-MD5 is not supported"),
    ]
    async with odd_store(OddStore(refusals)) as store:
        told = (await stored(store)).predicate.store
    assert told is not None and told.checksum == "none"


async def test_a_checksum_that_was_chosen_is_kept() -> None:
    async with odd_store(OddStore([REFUSALS["checksum"]])) as store:
        with pytest.raises(DestinationError, match="Unsupported checksum header"):
            await stored(store, checksum="crc64nvme")
        store.objects.clear()
        told = (await stored(store, checksum="md5")).predicate.store
    assert told is not None and told.checksum == "md5"


@pytest.mark.parametrize("acl", [None, True, False])
async def test_an_access_list_is_sent_to_aws_and_where_it_is_asked_for(acl: bool | None) -> None:
    async with odd_store(OddStore()) as store:
        await stored(store, acl=acl)
        sent = {headers.get("x-amz-acl") for _, _, headers in store.requests}
    assert ("bucket-owner-full-control" in sent) is (acl is True)


async def test_an_access_list_that_is_refused_is_left_out() -> None:
    refusal = refuses("x-amz-acl", 400, "AccessControlListNotSupported", "no ACLs here")
    async with odd_store(OddStore([refusal])) as store:
        told = (await stored(store, acl=True)).predicate.store
    assert told is not None and told.checksum == "crc64nvme"


async def test_all_parts_but_the_last_can_be_alike() -> None:
    size = 6 * 1024 * 1024
    async with odd_store(OddStore()) as store:
        await stored(store, LARGE, part_size=size)
        parts = store.parts["one/containers/web/rootfs.tar"]
    assert [len(parts[number]) for number in sorted(parts)][:-1] == [size] * (len(parts) - 1)


async def test_no_upload_waits_for_leave_to_go_on() -> None:
    async with odd_store(OddStore()) as store:
        await stored(store, LARGE)
        assert not any("expect" in headers for _, _, headers in store.requests)


ODD_VERSIONS = {
    "empty": lambda store: OddStore.xml("ListVersionsResult", ""),
    "refused": lambda store: error(400, "InvalidArgument", "versions"),
    "not implemented": lambda store: error(501, "NotImplemented", "versions"),
    "bare": lambda store: OddStore.xml(
        "ListVersionsResult",
        "".join(f"<Version><Key>{key}</Key></Version>" for key in store.objects),
    ),
    "without a marker": lambda store: OddStore.xml(
        "ListVersionsResult",
        "<IsTruncated>true</IsTruncated>"
        + "".join(f"<Version><Key>{key}</Key></Version>" for key in store.objects),
    ),
}


@pytest.mark.parametrize("name", ODD_VERSIONS)
async def test_no_field_of_a_list_of_versions_is_certain(name: str) -> None:
    async with odd_store(OddStore(versions=ODD_VERSIONS[name])) as store:
        await stored(store)


async def test_a_range_that_is_ignored_is_cut_out_of_the_whole() -> None:
    async with odd_store(OddStore(ranges=False)) as store:
        store.objects["one/file"] = LARGE
        async with open_storage("s3://cases/one", access=store.access()) as opened:
            for start, length in ((0, 10), (5_000_000, 4096), (len(LARGE) - 5, 5)):
                async with aclosing(opened.read_range("file", start, length)) as blocks:
                    found = b"".join([block async for block in blocks])
                assert found == LARGE[start : start + length]


async def test_a_bundle_is_read_where_ranges_are_ignored() -> None:
    async with odd_store(OddStore(ranges=False)) as store:
        await stored(store, LARGE)


@pytest.mark.parametrize("style", ["path", "virtual"])
async def test_how_buckets_are_addressed_can_be_said(
    style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORENSICS_S3_ADDRESSING_STYLE", style)
    async with odd_store(OddStore()) as store, s3_client(store.access()) as client:
        config: Any = client.meta.config
        assert config.s3["addressing_style"] == style


@pytest.mark.parametrize(
    ("name", "value"),
    [("FORENSICS_S3_CHECKSUM", "crc32"), ("FORENSICS_S3_PART_SIZE", "large")],
)
def test_settings_that_are_none(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name):
        from_environ(OddStore().access())


def test_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORENSICS_S3_CHECKSUM", "md5")
    monkeypatch.setenv("FORENSICS_S3_PART_SIZE", "16MiB")
    monkeypatch.setenv("FORENSICS_S3_ACL", "true")
    found = from_environ(OddStore().access())
    assert (found.checksum, found.part_size, found.acl) == ("md5", 16 * 1024 * 1024, True)
