from __future__ import annotations

import hashlib
import importlib
import os
from contextlib import aclosing
from pathlib import Path

import pytest
import zstandard

import forensics_core
from forensics_core import bundles
from forensics_core.bundle.reader import open_bundle
from forensics_core.errors import (
    BundleNotFound,
    DestinationError,
    ObjectNotFound,
    TooManyObjects,
    UsageError,
    VerificationError,
)
from forensics_core.readers.changes import Change, change_batches, changes
from forensics_core.storage.local import LocalStorage
from forensics_core.storage.objects import StoredObject, check_name
from forensics_core.storage.storage import open_storage, read_small
from tests.bundles import (
    DIFF,
    INSPECT,
    ROOTFS,
    artifact,
    edit_manifest,
    replace_object,
    write_bundle,
)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    await write_bundle(str(tmp_path / "cases/one"))
    return tmp_path / "cases/one"


async def test_a_bundle_says_what_is_in_it(folder: Path) -> None:
    async with open_bundle(str(folder)) as bundle:
        names = [each.name for each in bundle.statement.predicate.artifacts]
        assert names == [INSPECT, DIFF, ROOTFS]
        assert bundle.containers == ["web"]
        assert bundle.url == folder.as_uri() + "/"


async def test_objects_and_ranges_can_be_read(folder: Path) -> None:
    stored = (folder / ROOTFS).read_bytes()
    async with open_bundle(str(folder)) as bundle:
        assert b"".join([block async for block in bundle.read(ROOTFS)]) == stored
        part = bundle.read_range(ROOTFS, 100, 50)
        assert b"".join([block async for block in part]) == stored[100:150]
        beyond = bundle.read_range(ROOTFS, len(stored) - 10, 50)
        assert b"".join([block async for block in beyond]) == stored[-10:]
        rest = bundle.read_range(ROOTFS, 10, None)
        assert b"".join([block async for block in rest]) == stored[10:]


async def test_nothing_there_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match="nothing at"):
        async with open_bundle(str(tmp_path / "none")):
            pass
    with pytest.raises(BundleNotFound, match="no bundle at"):
        async with open_bundle(str(tmp_path)):
            pass


async def test_the_folder_above_names_the_bundles_in_it(folder: Path) -> None:
    with pytest.raises(BundleNotFound, match="Beneath it there are: one"):
        async with open_bundle(str(folder.parent)):
            pass
    for number in range(4):
        (folder.parent / f"more{number}").mkdir()
        (folder.parent / f"more{number}/manifest.json").touch()
    with pytest.raises(BundleNotFound, match="and 2 more"):
        async with open_bundle(str(folder.parent)):
            pass


async def test_a_manifest_of_something_else_does_not_verify(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(VerificationError, match="not a manifest"):
        async with open_bundle(str(folder)):
            pass


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ('"reason": ""', '"reason": "", "reason": "x"', "'reason' is repeated"),
        ('"reason": ""', '"reason": "", "Reason": "x"', "several spellings"),
        ('"attempt": 1', '"attempt": NaN', "NaN is not JSON"),
        ('"monotonicOffset": 0.0', '"monotonicOffset": 1e999', "too large"),
    ],
)
async def test_a_manifest_that_two_programs_read_differently_does_not_verify(
    folder: Path, before: str, after: str, why: str
) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    if before not in text:
        text = text.replace('"tool": {', '"clocks": [{"monotonicOffset": 0.0}], "tool": {')
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(VerificationError, match=why):
        async with open_bundle(str(folder)):
            pass


@pytest.mark.parametrize(
    "name", ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a\0b", "\ud800", "é" * 513]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(VerificationError, match="leads out of the bundle"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "a/b.json", "...", "a b", "é" * 512])
def test_plain_names_pass(name: str) -> None:
    assert check_name(name) == name


async def test_a_store_refuses_such_names_too(folder: Path) -> None:
    async with open_storage(str(folder)) as store:
        with pytest.raises(VerificationError):
            await anext(store.read("../one/manifest.json"))


async def test_a_listing_holds_links_but_does_not_follow_them(folder: Path) -> None:
    (folder / "link").symlink_to("/etc")
    async with open_storage(str(folder)) as store:
        entries = await store.list()
    assert StoredObject("link", 4) in entries
    assert not [entry for entry in entries if entry.name.startswith("link/")]


async def test_a_listing_is_bounded(folder: Path) -> None:
    with pytest.raises(DestinationError, match="more than 3 files"):
        await LocalStorage(folder, max_files=3).list()


async def test_folders_deeper_than_any_path_hide_no_bundle(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=place)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    with pytest.raises(TooManyObjects, match="deeper folders than a bundle"):
        await LocalStorage(folder).list()
    async with open_bundle(str(folder)) as bundle:
        assert await changes(bundle, "web") == [Change("A", "/tmp/\x1b[2Jx\n")]


async def test_a_crowded_folder_is_asked_for_what_a_bundle_has_by_name(folder: Path) -> None:
    (folder / "link").symlink_to("/etc")
    (folder / "file").write_text("12345")
    (folder / "folder").mkdir()
    store = LocalStorage(folder, max_files=0)
    names = {"link", "file", "folder", "none", "file/below"}
    assert await store.list(only=names) == [StoredObject("file", 5), StoredObject("link", 4)]
    assert await store.list("f", only=names) == [StoredObject("file", 5)]
    with pytest.raises(DestinationError, match="File name too long"):
        await store.list(only={"x" * 300})


async def test_a_missing_file_is_not_found(folder: Path) -> None:
    async with open_storage(str(folder)) as store, aclosing(store.read("none")) as blocks:
        with pytest.raises(ObjectNotFound):
            await anext(blocks)


async def test_what_should_be_small_is_read_to_a_limit(folder: Path) -> None:
    async with open_storage(str(folder)) as store:
        assert len(await read_small(store, DIFF, limit=1000)) < 1000
        with pytest.raises(VerificationError, match="more than 5 bytes"):
            await read_small(store, DIFF, limit=5)


async def test_changes_are_read_back(folder: Path) -> None:
    async with open_bundle(str(folder)) as bundle:
        assert await changes(bundle, "web") == [Change("A", "/tmp/\x1b[2Jx\n")]
        with pytest.raises(UsageError, match="no container 'db'"):
            await changes(bundle, "db")


async def test_changes_that_are_not_genuine_are_not_shown(folder: Path) -> None:
    (folder / DIFF).write_bytes(b'{"changes": []}')
    async with open_bundle(str(folder)) as bundle:
        with pytest.raises(VerificationError, match="not what the manifest says"):
            await changes(bundle, "web")


async def packed_changes(folder: Path, stored: bytes) -> list[Change]:
    """Return what comes out when `diff.json` is stored compressed, as `stored`."""
    original = (folder / DIFF).read_bytes()
    replace_object(folder, DIFF, stored)
    edit_manifest(
        folder,
        lambda document: artifact(document, DIFF).update(
            compression="zstd",
            originalSize=len(original),
            originalSha256=hashlib.sha256(original).hexdigest(),
        ),
    )
    async with open_bundle(str(folder)) as bundle:
        return await changes(bundle, "web")


async def test_compressed_changes_are_read_back(folder: Path) -> None:
    packed = zstandard.compress((folder / DIFF).read_bytes())
    assert await packed_changes(folder, packed) == [Change("A", "/tmp/\x1b[2Jx\n")]


@pytest.mark.parametrize(
    ("stored", "why"),
    [(b"no zstd", "cannot be decompressed"), (zstandard.compress(b"{}"), "decompressed it is not")],
)
async def test_compressed_changes_that_are_not_genuine(
    folder: Path, stored: bytes, why: str
) -> None:
    with pytest.raises(VerificationError, match=why):
        await packed_changes(folder, stored)


async def test_changes_that_turn_out_endless_are_given_up(
    folder: Path,
) -> None:
    (folder / DIFF).write_bytes(b"x" * 10_000_000)
    async with open_bundle(str(folder)) as bundle:
        with pytest.raises(VerificationError, match="not what the manifest says"):
            await anext(change_batches(bundle, "web", limit=100))


async def test_a_disk_that_fails_is_said_so() -> None:
    async with open_storage("/proc/self") as store, aclosing(store.read("mem")) as blocks:
        with pytest.raises(DestinationError, match="Input/output error"):
            await anext(blocks)


@pytest.mark.parametrize("data", [b"[]", b"{", b'{"changes": [1]}'])
async def test_changes_that_are_no_list_of_changes(folder: Path, data: bytes) -> None:
    replace_object(folder, DIFF, data)
    async with open_bundle(str(folder)) as bundle:
        with pytest.raises(VerificationError, match="not a list of changes"):
            await changes(bundle, "web")


async def test_changes_that_were_not_captured(folder: Path) -> None:
    edit_manifest(folder, lambda document: artifact(document, DIFF).update(kind="logs"))
    async with open_bundle(str(folder)) as bundle:
        with pytest.raises(forensics_core.ForensicsError, match="were not captured"):
            await changes(bundle, "web")


async def test_changes_that_claim_to_be_endless_are_not_read(folder: Path) -> None:
    edit_manifest(folder, lambda document: artifact(document, DIFF).update(size=1 << 40))
    async with open_bundle(str(folder)) as bundle:
        with pytest.raises(VerificationError, match="claims to have more"):
            await changes(bundle, "web")


def test_the_package_names_what_scripts_need() -> None:
    for name in forensics_core.__all__:
        assert getattr(forensics_core, name) is not None
    assert dir(forensics_core) == sorted(forensics_core.__all__)
    assert forensics_core.open_bundle is bundles.open_bundle
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = importlib.import_module("forensics_core").nothing
