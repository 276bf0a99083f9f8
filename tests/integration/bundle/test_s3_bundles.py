"""Bundles in a real bucket: read back, by version, whatever was done to them since."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from forensics_core.bundle.fetch import fetch
from forensics_core.bundle.identity import EvidenceIdentity, notes_on
from forensics_core.bundle.layout import SEAL
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.seal import generate_key, sign
from forensics_core.bundle.verification import SealState, Verification
from forensics_core.bundle.verify import verify
from forensics_core.bundle.writer import FinishedBundle
from forensics_core.errors import (
    AccessDenied,
    BucketNotFound,
    BundleNotFound,
    DestinationError,
    DestinationUnreachable,
    ObjectNotFound,
    VerificationError,
)
from forensics_core.operator.evidence.manifest import Manifests
from forensics_core.storage.budget import MIB
from forensics_core.storage.locate import S3Location
from forensics_core.storage.s3.client import S3Access, s3_client
from forensics_core.storage.s3.storage import S3Storage
from forensics_core.storage.storage import open_storage
from lab.seaweed import REGION, S3Identity, S3Server, collector_policy
from tests.bundles import ARCHIVE, DIFF, INSPECT, ROOTFS, of_order, write_bundle
from tests.integration.bundle.cutting import cutting_proxy


@pytest.fixture
def reader(s3: S3Server) -> S3Access:
    return S3Access(
        endpoint_url=s3.endpoint,
        region=REGION,
        access_key_id=S3Identity.READER.access_key,
        secret_access_key=S3Identity.READER.secret_key,
    )


@pytest.fixture(autouse=True)
def write_as_admin(s3: S3Server, use_env: Callable[[Mapping[str, str]], None]) -> None:
    use_env(s3.env())


@pytest.fixture
async def plain(bucket: str) -> AsyncIterator[str]:
    """A bundle in a bucket without versions."""
    await write_bundle(f"s3://{bucket}/cases/one")
    yield f"s3://{bucket}/cases/one"


@pytest.fixture
async def sealable(locked_bucket: str) -> FinishedBundle:
    return await write_bundle(f"s3://{locked_bucket}/cases/one")


@pytest.fixture
async def versioned(locked_bucket: str, sealable: FinishedBundle) -> AsyncIterator[str]:
    """A bundle in a bucket with versions."""
    yield f"s3://{locked_bucket}/cases/one"


def found(verification: Verification) -> list[tuple[str, str]]:
    return [(problem.kind.value, problem.name) for problem in verification.problems]


async def put(s3: S3Server, url: str, name: str, data: bytes) -> None:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    async with s3.client() as client:
        await client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)


async def delete(s3: S3Server, url: str, name: str, version_id: str = "") -> None:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    which: dict[str, Any] = {"VersionId": version_id} if version_id else {}
    async with s3.client() as client:
        await client.delete_object(Bucket=bucket, Key=f"{prefix}/{name}", **which)


async def test_a_fresh_bundle_verifies(plain: str, reader: S3Access) -> None:
    verification = await verify(plain, access=reader)
    assert (verification.problems, verification.notes) == ((), ())
    assert verification.artifacts == 4
    assert verification.location == f"{plain}/"


async def test_a_fresh_bundle_with_versions_verifies(
    versioned: str, reader: S3Access, sealable: FinishedBundle
) -> None:
    assert all(artifact.version_id for artifact in sealable.statement.predicate.artifacts)
    verification = await verify(versioned, access=reader)
    assert (verification.problems, verification.notes) == ((), ())
    assert verification.manifest_sha256 == sealable.manifest_sha256


async def test_replaced_missing_and_extra_objects_are_named(
    s3: S3Server, plain: str, reader: S3Access
) -> None:
    await put(s3, plain, DIFF, b"{}")
    await delete(s3, plain, INSPECT)
    await put(s3, plain, "more", b"")
    verification = await verify(plain, access=reader)
    assert found(verification) == [("Mismatch", DIFF), ("Missing", INSPECT)]
    assert verification.extras == ("more",)
    strict = await verify(plain, strict=True, access=reader)
    assert ("Extra", "more") in found(strict)


async def test_a_place_that_was_filled_up_still_yields_its_evidence(
    s3: S3Server, plain: str, versioned: str, reader: S3Access
) -> None:
    reader = replace(reader, max_objects=12)
    for location in (plain, versioned):
        for number in range(12):
            await put(s3, location, f"junk/{number}", b"x")
        await put(s3, location, "manifest.json.junk", b"x")
        verification = await verify(location, access=reader)
        assert verification.ok
        assert any("holds more than 12 objects" in note for note in verification.notes)


async def test_a_copy_that_anybody_may_add_beside_an_archive_is_no_evidence(
    s3: S3Server, plain: str, versioned: str, reader: S3Access
) -> None:
    """Whoever may add objects could otherwise keep a bundle from verifying for ever."""
    for location in (plain, versioned):
        await put(s3, location, ROOTFS.removesuffix(".zst"), b"forged")
        verification = await verify(location, access=reader)
        assert verification.ok
        assert verification.extras == (ROOTFS.removesuffix(".zst"),)


async def test_what_was_written_over_a_version_is_mentioned_and_the_evidence_holds(
    s3: S3Server, versioned: str, reader: S3Access
) -> None:
    await put(s3, versioned, DIFF, b"{}")
    await delete(s3, versioned, ROOTFS)
    verification = await verify(versioned, access=reader)
    assert verification.ok
    assert len(verification.notes) == 2
    assert f"{DIFF} was written again" in verification.notes[0]
    assert f"{ROOTFS} was deleted" in verification.notes[1]


async def test_the_first_manifest_counts(
    s3: S3Server, versioned: str, reader: S3Access, sealable: FinishedBundle
) -> None:
    await put(s3, versioned, "manifest.json", b"{}")
    await delete(s3, versioned, "manifest.json")
    verification = await verify(versioned, access=reader)
    assert verification.ok
    assert verification.manifest_sha256 == sealable.manifest_sha256
    assert any("manifest.json was deleted" in note for note in verification.notes)


async def test_a_version_that_is_gone_is_missing(
    s3: S3Server, versioned: str, reader: S3Access, sealable: FinishedBundle
) -> None:
    (artifact,) = (each for each in sealable.statement.predicate.artifacts if each.name == DIFF)
    await delete(s3, versioned, DIFF, artifact.version_id or "")
    assert found(await verify(versioned, access=reader)) == [("Missing", DIFF)]
    await put(s3, versioned, DIFF, b"another")
    verification = await verify(versioned, access=reader)
    assert found(verification) == [("Mismatch", DIFF)]
    assert any("1 objects are not in the versions" in note for note in verification.notes)


async def test_many_changes_are_mentioned_up_to_a_limit(
    s3: S3Server, versioned: str, reader: S3Access
) -> None:
    for name in (DIFF, INSPECT, ROOTFS):
        await delete(s3, versioned, name)
    async with open_bundle(versioned, access=reader) as bundle:
        notes = list(notes_on(bundle, bundle, most=1))
    assert len(notes) == 2
    assert "2 more objects" in notes[1]


async def test_the_seal_is_found_and_checked(
    s3: S3Server, versioned: str, reader: S3Access, sealable: FinishedBundle
) -> None:
    private, public = generate_key()
    seal = sign(sealable.statement.to_bytes(), private)
    await put(s3, versioned, "manifest.sigstore.json", seal)
    assert (await verify(versioned, key=public, access=reader)).seal is SealState.VALID


async def test_a_manifest_written_after_the_seal_is_not_the_evidence(
    s3: S3Server, versioned: str, reader: S3Access, sealable: FinishedBundle
) -> None:
    """What a stolen key that may only add can do: another manifest, and a seal of its own."""
    private, public = generate_key()
    await put(s3, versioned, SEAL, sign(sealable.statement.to_bytes(), private))
    forged = sealable.statement.model_copy(update={"subject": ()}).to_bytes()
    await put(s3, versioned, "manifest.json", forged)
    await put(s3, versioned, SEAL, sign(forged, generate_key()[0]))
    for key in (public, None):
        verification = await verify(versioned, key=key, access=reader)
        assert verification.problems == ()
        assert verification.manifest_sha256 == sealable.manifest_sha256
    assert any("no seal was checked that tells which" in note for note in verification.notes)


async def test_the_sealed_manifest_is_found_whatever_was_written_first(
    s3: S3Server, versioned: str, reader: S3Access, sealable: FinishedBundle
) -> None:
    """A bundle of an earlier release, or of a node that wrote twice: the seal tells."""
    private, public = generate_key()
    later = sealable.statement.model_copy(
        update={"predicate": of_order(sealable.statement.predicate, reason="later")}
    ).to_bytes()
    await put(s3, versioned, "manifest.json", later)
    await put(s3, versioned, SEAL, sign(later, generate_key()[0]))
    await put(s3, versioned, SEAL, sign(later, private))
    verification = await verify(versioned, key=public, access=reader)
    assert verification.seal is SealState.VALID
    assert verification.manifest_sha256 == hashlib.sha256(later).hexdigest()
    assert sum("An older " in note for note in verification.notes) == 2


async def test_the_manifest_that_is_asked_for_by_its_digest_is_read_or_none(
    s3: S3Server, versioned: str, reader: S3Access, sealable: FinishedBundle
) -> None:
    later = sealable.statement.to_bytes() + b"\n"
    await put(s3, versioned, "manifest.json", later)
    for data in (sealable.statement.to_bytes(), later):
        digest = hashlib.sha256(data).hexdigest()
        async with open_bundle(versioned, sha256=digest, access=reader) as bundle:
            assert bundle.manifest == data
        wanted = EvidenceIdentity(manifest_sha256=digest)
        assert (await verify(versioned, wanted=wanted, access=reader)).manifest_sha256 == digest
    with pytest.raises(VerificationError, match="not the bundle that was captured"):
        async with open_bundle(versioned, sha256="0" * 64, access=reader):
            pass


async def test_the_operator_takes_the_version_that_readers_take(
    s3: S3Server, versioned: str, reader: S3Access, sealable: FinishedBundle
) -> None:
    await put(s3, versioned, "manifest.json", b"{}")
    async with open_storage(versioned, access=reader) as store:
        for sha256 in ("", sealable.manifest_sha256, "0" * 64):
            async with Manifests().find(store, sha256) as found:
                assert found is not None
                assert found.bundle.manifest_sha256 == sealable.manifest_sha256


async def test_recorded_versions_are_read_though_versions_may_not_be_listed(
    s3: S3Server, versioned: str, locked_bucket: str, reader: S3Access
) -> None:
    await forbid(s3, locked_bucket, "s3:ListBucketVersions")
    await put(s3, versioned, DIFF, b"{}")
    assert found(await verify(versioned, access=reader)) == []


async def test_a_copy_verifies_though_versions_may_not_be_listed(
    s3: S3Server, versioned: str, bucket: str, reader: S3Access
) -> None:
    source, _, prefix = versioned.removeprefix("s3://").partition("/")
    async with open_storage(versioned, access=reader) as store, s3.client() as client:
        for entry in await store.list():
            key = f"{prefix}/{entry.name}"
            await client.copy_object(
                Bucket=bucket,
                Key=f"copy/{entry.name}",
                CopySource={"Bucket": source, "Key": key},
            )
    await forbid(s3, bucket, "s3:ListBucketVersions")
    verification = await verify(f"s3://{bucket}/copy", access=reader)
    assert found(verification) == []
    assert any(note.startswith("This is a copy") for note in verification.notes)


async def test_an_object_older_than_the_versions_of_its_bucket_is_the_evidence(
    s3: S3Server, plain: str, bucket: str, reader: S3Access
) -> None:
    async with s3.client() as client:
        await client.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
        )
    await put(s3, plain, DIFF, b"{}")
    await put(s3, plain, "manifest.json", b"{}")
    verification = await verify(plain, access=reader)
    assert found(verification) == []
    assert len(verification.notes) == 3


async def test_fetch_brings_the_recorded_versions_home(
    s3: S3Server, versioned: str, reader: S3Access, tmp_path: Path
) -> None:
    await put(s3, versioned, DIFF, b"{}")
    fetched = await fetch(versioned, tmp_path / "copy", decompress=True, access=reader)
    assert fetched.problems == ()
    assert len(fetched.notes) == 1
    assert (tmp_path / "copy/containers/web/rootfs.tar").read_bytes() == ARCHIVE
    home = await verify(str(tmp_path / "copy"))
    assert home.problems == ()
    assert home.notes == (f"This is a copy: the evidence was captured to {versioned}/",)


async def test_an_unfinished_bundle_and_none_at_all(
    s3: S3Server, plain: str, reader: S3Access
) -> None:
    await delete(s3, plain, "manifest.json")
    for location, why in ((plain, "unfinished"), (f"{plain}-not", "no bundle at")):
        with pytest.raises(BundleNotFound, match=why):
            await verify(location, access=reader)


async def test_the_prefix_above_names_its_bundles(plain: str, reader: S3Access) -> None:
    with pytest.raises(BundleNotFound, match="Beneath it there are: one"):
        await verify(plain.removesuffix("/one"), access=reader)


async def test_a_range_and_an_object_that_is_not_there(plain: str, reader: S3Access) -> None:
    async with open_bundle(plain, access=reader) as bundle:
        whole = b"".join([block async for block in bundle.read(ROOTFS)])
        part = bundle.read_range(ROOTFS, 1000, 5)
        assert b"".join([block async for block in part]) == whole[1000:1005]
        rest = bundle.read_range(ROOTFS, len(whole) - 3, None)
        assert b"".join([block async for block in rest]) == whole[-3:]
        for start, length in ((5, 0), (len(whole), 5), (len(whole) + 7, None)):
            nothing = bundle.read_range(ROOTFS, start, length)
            assert [block async for block in nothing] == []
        async with aclosing(bundle.read("none")) as blocks:
            with pytest.raises(ObjectNotFound):
                await anext(blocks)


async def test_a_read_goes_on_where_the_connection_broke(
    s3: S3Server, plain: str, reader: S3Access
) -> None:
    async with cutting_proxy(s3.endpoint) as cuts:
        access = replace(reader, endpoint_url=cuts.endpoint)
        async with open_bundle(plain, access=access) as bundle:
            cuts.about, cuts.after, cuts.left = b"rootfs", 10_000, 3
            data = b"".join([block async for block in bundle.read(ROOTFS)])
        assert cuts.done == 3
    async with open_bundle(plain, access=reader) as bundle:
        assert data == b"".join([block async for block in bundle.read(ROOTFS)])


async def test_a_connection_that_always_breaks_ends_in_an_error(
    s3: S3Server, plain: str, reader: S3Access
) -> None:
    async with cutting_proxy(s3.endpoint) as cuts:
        access = replace(reader, endpoint_url=cuts.endpoint, attempts=2)
        async with open_bundle(plain, access=access) as bundle:
            cuts.about, cuts.left = b"rootfs", 1000
            with pytest.raises(DestinationUnreachable):
                async for _ in bundle.read(ROOTFS):
                    pass


async def test_the_network_failing_is_no_finding(
    s3: S3Server, plain: str, reader: S3Access, tmp_path: Path
) -> None:
    async with cutting_proxy(s3.endpoint) as cuts:
        access = replace(reader, endpoint_url=cuts.endpoint, attempts=2)
        cuts.about, cuts.left = b"rootfs", 1000
        with pytest.raises(DestinationUnreachable):
            await verify(plain, access=access)
        with pytest.raises(DestinationUnreachable):
            await fetch(plain, tmp_path / "copy", access=access)
    assert not (tmp_path / "copy/manifest.json").exists()


async def test_long_listings_come_in_pages(
    s3: S3Server, plain: str, locked_bucket: str, reader: S3Access
) -> None:
    names = [f"{number:04}" for number in range(1005)]
    async with s3.client() as client, anyio.create_task_group() as tasks:
        lanes = anyio.CapacityLimiter(8)

        async def add(name: str) -> None:
            async with lanes:
                await client.put_object(Bucket=locked_bucket, Key=f"many/{name}", Body=b"x")

        for name in names:
            tasks.start_soon(add, name)
    async with open_storage(f"s3://{locked_bucket}/many", access=reader) as store:
        entries = await store.list()
    assert [entry.name for entry in entries] == names
    assert all(entry.version_id and entry.latest for entry in entries)
    await forbid(s3, locked_bucket, "s3:ListBucketVersions")
    async with open_storage(f"s3://{locked_bucket}/many", access=reader) as store:
        entries = await store.list()
    assert [entry.name for entry in entries] == names
    assert not any(entry.version_id for entry in entries)


async def test_a_listing_is_bounded(plain: str, reader: S3Access) -> None:
    async with open_storage(plain, access=replace(reader, max_objects=2)) as store:
        with pytest.raises(DestinationError, match="more than 2 objects"):
            await store.list()


async def test_versions_are_listed_the_oldest_first(
    s3: S3Server, versioned: str, reader: S3Access
) -> None:
    await put(s3, versioned, DIFF, b"second")
    await put(s3, versioned, DIFF, b"third!!")
    await delete(s3, versioned, DIFF)
    async with open_storage(versioned, access=reader) as store:
        entries = [entry for entry in await store.list() if entry.name == DIFF]
    assert [entry.size for entry in entries][1:] == [6, 7, 0]
    assert [entry.latest for entry in entries] == [False, False, False, True]
    assert [entry.deleted for entry in entries] == [False, False, False, True]


async def test_what_is_wrong_with_the_place_is_said(
    s3: S3Server, plain: str, reader: S3Access
) -> None:
    with pytest.raises(BucketNotFound):
        await verify("s3://no-such-bucket-here/x", access=reader)
    wrong = replace(reader, secret_access_key="wrong")  # noqa: S106 - it is meant to be wrong
    with pytest.raises(AccessDenied):
        await verify(plain, access=wrong)
    nowhere = replace(reader, endpoint_url="http://127.0.0.1:9", attempts=1)
    with pytest.raises(DestinationUnreachable):
        await verify(plain, access=nowhere)


async def test_without_the_right_to_list_the_rest_is_verified_and_that_is_said(
    s3: S3Server, plain: str, bucket: str, reader: S3Access
) -> None:
    await forbid(s3, bucket, "s3:ListBucket", "s3:ListBucketVersions")
    verification = await verify(plain, access=reader)
    assert verification.ok
    assert "may not be listed" in verification.notes[0]


async def test_without_the_right_to_list_versions_what_is_current_is_listed(
    s3: S3Server, plain: str, bucket: str, reader: S3Access
) -> None:
    await forbid(s3, bucket, "s3:ListBucketVersions")
    await put(s3, plain, "extra", b"")
    assert (await verify(plain, access=reader)).extras == ("extra",)


async def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(
    s3: S3Server, plain: str, reader: S3Access
) -> None:
    await put(s3, plain, "large", random.Random(1).randbytes(16 * MIB))  # noqa: S311 - only data
    async with cutting_proxy(s3.endpoint) as cuts:
        access = replace(reader, endpoint_url=cuts.endpoint)
        cuts.about, cuts.after, cuts.left = b"large", 2 * MIB, 1
        async with (
            open_storage(plain, access=access) as store,
            aclosing(store.read("large")) as read,
        ):
            await anext(read)
            await put(s3, plain, "large", random.Random(2).randbytes(16 * MIB))  # noqa: S311
            with pytest.raises(DestinationError, match="replaced while it was read"):
                async for _ in read:
                    pass


async def test_an_object_can_be_looked_at_without_reading_it(
    versioned: str, reader: S3Access, locked_bucket: str, sealable: FinishedBundle
) -> None:
    (artifact,) = (each for each in sealable.statement.predicate.artifacts if each.name == DIFF)
    async with s3_client(reader) as client:
        store = S3Storage(client, S3Location(locked_bucket, "cases/one"), reader)
        stored = await store.stat(DIFF, artifact.version_id)
        assert (stored.size, stored.version_id) == (artifact.size, artifact.version_id)
        with pytest.raises(ObjectNotFound):
            await store.stat("none")


async def forbid(s3: S3Server, bucket: str, *actions: str) -> None:
    """Take rights on the bucket away from the reader."""
    rules = collector_policy(bucket)
    rules["Statement"].append(
        {
            "Effect": "Deny",
            "Principal": {"AWS": f"arn:aws:iam::000000000000:user/{S3Identity.READER}"},
            "Action": actions,
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        }
    )
    async with s3.client() as client:
        await client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(rules))
