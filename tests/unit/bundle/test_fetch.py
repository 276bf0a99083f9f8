from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest

from forensics_core.bundle.fetch import fetch
from forensics_core.bundle.seal import generate_key, sign
from forensics_core.bundle.verify import verify
from forensics_core.errors import (
    BucketNotFound,
    BundleNotFound,
    ObjectExists,
    UsageError,
    VerificationError,
)
from forensics_core.pipeline.meter import Meter
from tests.bundles import ARCHIVE, CONTEXT, DIFF, INSPECT, ROOTFS, edit_manifest, write_bundle


@pytest.fixture
async def source(tmp_path: Path) -> Path:
    await write_bundle(str(tmp_path / "source"))
    return tmp_path / "source"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_the_copy_is_the_bundle_seal_included(source: Path, tmp_path: Path) -> None:
    private, public = generate_key()
    seal = sign((source / "manifest.json").read_bytes(), private)
    (source / "manifest.sigstore.json").write_bytes(seal)
    meter = Meter()
    fetched = await fetch(str(source), tmp_path / "copy", progress=meter)
    fetched.raise_for_problems()
    assert contents(tmp_path / "copy") == contents(source)
    assert fetched.artifacts == 4
    assert fetched.size == meter.bytes_read > 0
    assert (await verify(str(tmp_path / "copy"), key=public)).ok


async def test_decompress_adds_the_plain_archive(source: Path, tmp_path: Path) -> None:
    await fetch(str(source), tmp_path / "copy", decompress=True)
    assert (tmp_path / "copy/containers/web/rootfs.tar").read_bytes() == ARCHIVE
    assert (tmp_path / "copy" / ROOTFS).exists()
    assert (await verify(str(tmp_path / "copy"))).ok


async def test_only_what_is_selected_is_fetched_and_verifies_as_such(
    source: Path, tmp_path: Path
) -> None:
    (source / INSPECT).write_bytes(b"tampered with, and not selected")
    select = ["*/rootfs.tar*", "context/*"]
    fetched = await fetch(str(source), tmp_path / "copy", decompress=True, select=select)
    fetched.raise_for_problems()
    assert fetched.artifacts == 2 and "Only 2 of 5 objects were fetched" in fetched.notes
    assert {*contents(tmp_path / "copy")} == {
        "manifest.json", CONTEXT, ROOTFS, ROOTFS.removesuffix(".zst"),
    }  # fmt: skip
    part = await verify(str(tmp_path / "copy"), select=select)
    assert part.ok and part.artifacts == 2 and not part.extras
    assert "Only 2 of 5 objects were looked at" in part.notes
    with pytest.raises(VerificationError, match="give the same --select"):
        (await verify(str(tmp_path / "copy"))).raise_for_problems()


async def test_what_is_selected_and_not_genuine_is_named(source: Path, tmp_path: Path) -> None:
    (source / INSPECT).write_bytes(b"tampered with")
    fetched = await fetch(str(source), tmp_path / "copy", select=["*.json"])
    assert [problem.name for problem in fetched.problems] == [INSPECT]
    assert [
        problem.name for problem in (await verify(str(source), select=["*/inspect.json"])).problems
    ] == [INSPECT]
    assert (await verify(str(source), select=["*/diff.json"])).ok


async def test_a_glob_that_nothing_matches_is_wrong_usage(source: Path, tmp_path: Path) -> None:
    for select in (["*/rootfs.tar"], ["context/*", "nothing"]):
        with pytest.raises(UsageError, match="No object of the bundle"):
            await fetch(str(source), tmp_path / "copy", select=select)
        with pytest.raises(UsageError, match="No object of the bundle"):
            await verify(str(source), select=select)
    assert not (tmp_path / "copy").exists() or not contents(tmp_path / "copy")


async def test_sha256sum_accepts_the_copy(source: Path, tmp_path: Path) -> None:
    await fetch(str(source), tmp_path / "copy")
    check = ["sha256sum", "--strict", "-c", "SHA256SUMS"]
    await anyio.run_process(check, cwd=tmp_path / "copy")


async def test_what_does_not_verify_keeps_its_ending(source: Path, tmp_path: Path) -> None:
    (source / DIFF).write_bytes(b"{}")
    (source / INSPECT).unlink()
    (source / ROOTFS).write_bytes(b"no zstd")
    fetched = await fetch(str(source), tmp_path / "copy", decompress=True)
    named = [(problem.kind.value, problem.name) for problem in fetched.problems]
    assert named == [("Mismatch", DIFF), ("Missing", INSPECT), ("Mismatch", ROOTFS)]
    assert set(contents(tmp_path / "copy")) == {
        "SHA256SUMS",
        "manifest.json",
        CONTEXT,
        f"{DIFF}.unverified",
        f"{ROOTFS}.unverified",
    }
    with pytest.raises(VerificationError, match=DIFF) as caught:
        fetched.raise_for_problems()
    assert "unverified" in str(caught.value)


async def test_nothing_is_ever_overwritten(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/mine").write_text("precious")
    with pytest.raises(ObjectExists, match="not empty"):
        await fetch(str(source), tmp_path / "copy")
    assert contents(tmp_path / "copy") == {"mine": b"precious"}


async def test_an_empty_folder_will_do(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    assert (await fetch(str(source), tmp_path / "copy")).problems == ()


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "/tmp/escaped",
        "a/../../escaped",
        "x.unverified",
        "y.unfinished",
        "x.unverified.zst",
        "manifest.json.zst",
    ],
)
async def test_names_that_escape_are_refused(source: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(source / DIFF, tmp_path / "escaped.source")

    def edit(document: dict[str, Any]) -> None:
        (row,) = (each for each in document["subject"] if each["name"] == DIFF)
        document["subject"].append({**row, "name": name})

    edit_manifest(source, edit)
    fetched = await fetch(str(source), tmp_path / "deep/copy")
    assert [problem.name for problem in fetched.problems if problem.name == name] == [name]
    assert not list(tmp_path.rglob("escaped"))
    assert not (tmp_path / "deep/copy" / name).exists()


async def test_no_bundle_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound):
        await fetch(str(tmp_path / "nothing"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


async def test_an_archive_whose_plain_name_is_taken_stays_compressed(
    source: Path, tmp_path: Path
) -> None:
    plain = ROOTFS.removesuffix(".zst")

    def edit(document: dict[str, Any]) -> None:
        (row,) = (each for each in document["subject"] if each["name"] == DIFF)
        document["subject"].append({**row, "name": plain})

    shutil.copy(source / DIFF, source / plain)
    edit_manifest(source, edit)
    await fetch(str(source), tmp_path / "copy", decompress=True)
    assert (tmp_path / "copy" / plain).read_bytes() == (source / DIFF).read_bytes()


async def test_a_source_that_hides_behind_a_link_is_unreadable(
    source: Path, tmp_path: Path
) -> None:
    (source / DIFF).unlink()
    (source / DIFF).symlink_to("/etc/hostname")
    fetched = await fetch(str(source), tmp_path / "copy")
    assert [(problem.kind.value, problem.name) for problem in fetched.problems] == [
        ("Unreadable", DIFF)
    ]
    assert (tmp_path / "copy" / f"{DIFF}.unverified").read_bytes() == b""


async def test_a_folder_that_is_a_file_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BucketNotFound, match="not a folder"):
        await fetch(str(source), tmp_path / "file")
