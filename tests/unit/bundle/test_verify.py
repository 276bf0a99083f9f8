from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from forensics_core.bundle.identity import EvidenceIdentity
from forensics_core.bundle.seal import generate_key, sign
from forensics_core.bundle.verification import SealState, Verification
from forensics_core.bundle.verify import MAX_EXTRAS, verify
from forensics_core.bundle.writer import FinishedBundle
from forensics_core.errors import BundleNotFound, VerificationError
from forensics_core.pipeline.meter import Meter
from tests.bundles import (
    ARCHIVE,
    CONTEXT,
    DIFF,
    INSPECT,
    ROOTFS,
    artifact,
    edit_manifest,
    replace_object,
    write_bundle,
)


@pytest.fixture
async def sealable(tmp_path: Path) -> FinishedBundle:
    return await write_bundle(str(tmp_path / "bundle"))


@pytest.fixture
async def folder(tmp_path: Path, sealable: FinishedBundle) -> AsyncIterator[Path]:
    yield tmp_path / "bundle"


def found(verification: Verification) -> list[tuple[str, str]]:
    return [(problem.kind.value, problem.name) for problem in verification.problems]


def only_message(verification: Verification) -> str:
    (problem,) = verification.problems
    return problem.message


async def test_a_fresh_bundle_verifies(folder: Path, sealable: FinishedBundle) -> None:
    meter = Meter()
    verification = await verify(str(folder), progress=meter)
    assert verification.ok
    assert verification.notes == ()
    assert verification.artifacts == 4
    assert verification.manifest_sha256 == sealable.manifest_sha256
    assert verification.statement == sealable.statement
    assert verification.seal is SealState.ABSENT
    assert verification.location == folder.as_uri() + "/"
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert verification.size == stored - (folder / "manifest.json").stat().st_size
    assert meter.bytes_read == meter.bytes_total == verification.size
    assert meter.artifacts_done == meter.artifacts_total == 5
    verification.raise_for_problems()


async def test_a_file_url_works_as_well(folder: Path) -> None:
    assert (await verify(folder.as_uri())).ok


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", [INSPECT, DIFF, ROOTFS, CONTEXT])
async def test_one_flipped_bit_is_named(folder: Path, name: str) -> None:
    flip(folder / name, -5)
    verification = await verify(str(folder))
    assert found(verification) == [("Mismatch", name)]
    assert "SHA-256" in only_message(verification)
    with pytest.raises(VerificationError, match=name) as caught:
        verification.raise_for_problems()
    assert caught.value.exit_code == 3


async def test_a_damaged_archive_says_that_it_cannot_be_decompressed_either(folder: Path) -> None:
    flip(folder / ROOTFS, 1000)
    verification = await verify(str(folder))
    assert found(verification) == [("Mismatch", ROOTFS)]
    assert "cannot be decompressed" in only_message(verification)


@pytest.mark.parametrize("name", [DIFF, ROOTFS])
async def test_a_truncated_object_says_how_much_is_left(folder: Path, name: str) -> None:
    size = (folder / name).stat().st_size
    os.truncate(folder / name, size // 2)
    verification = await verify(str(folder))
    assert found(verification) == [("Mismatch", name)]
    assert f"truncated: {size // 2} of {size} bytes" in only_message(verification)


async def test_an_object_with_something_appended_is_too_long(folder: Path) -> None:
    with (folder / DIFF).open("ab") as file:
        file.write(b" ")
    assert "too long" in only_message(await verify(str(folder)))


async def test_what_is_longer_than_promised_is_not_read_to_its_end(folder: Path) -> None:
    with (folder / DIFF).open("r+b") as file:
        file.truncate(1 << 40)
    verification = await verify(str(folder))
    assert found(verification) == [("Mismatch", DIFF)]
    assert "too long" in only_message(verification)
    assert verification.size < 1 << 30


async def test_what_has_no_promised_size_is_bounded_too(folder: Path) -> None:
    with (folder / CONTEXT).open("r+b") as file:
        file.truncate(1 << 40)
    assert "too long" in only_message(await verify(str(folder)))


async def test_folders_may_be_deeper_than_functions_can_be_called(folder: Path) -> None:
    folders = [folder / "/".join(["d"] * depth) for depth in range(1, 1500)]
    for each in folders:
        each.mkdir()
    (folders[-1] / "x").touch()
    verification = await verify(str(folder))
    (folders[-1] / "x").unlink()
    for each in reversed(folders):  # which pytest could not, by calling functions
        each.rmdir()
    assert verification.ok
    assert verification.extras_total == 1


async def test_files_that_nobody_named_do_no_harm_to_the_evidence(folder: Path) -> None:
    """As `> signature` within the bundle makes one, or an analyst's notes."""
    (folder / "signature").write_bytes(b"x")
    (folder / "containers/web/rootfs").mkdir()
    (folder / "containers/web/rootfs/passwd").write_text("unpacked")
    (folder / "link").symlink_to("/etc/passwd")
    verification = await verify(str(folder))
    assert verification.ok
    assert verification.extras == ("containers/web/rootfs/passwd", "link", "signature")
    verification.raise_for_problems()


async def test_whoever_may_add_files_makes_no_answer_endless(folder: Path) -> None:
    for number in range(MAX_EXTRAS + 10):
        (folder / f"more{number}").touch()
    verification = await verify(str(folder))
    assert len(verification.extras) == MAX_EXTRAS
    assert verification.extras_total == MAX_EXTRAS + 10
    strict = await verify(str(folder), strict=True)
    assert len(found(strict)) == MAX_EXTRAS


async def test_missing_and_extra_objects_are_named_in_order(folder: Path) -> None:
    (folder / DIFF).unlink()
    (folder / INSPECT).rename(folder / "containers/web/x")
    (folder / "note.txt").write_text("by the intruder")
    verification = await verify(str(folder), strict=True)
    assert found(verification) == [
        ("Missing", DIFF),
        ("Missing", INSPECT),
        ("Extra", "containers/web/x"),
        ("Extra", "note.txt"),
    ]
    with pytest.raises(VerificationError, match="and 3 more"):
        verification.raise_for_problems()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
async def test_links_and_special_files_are_not_followed(
    folder: Path, make: Callable[[Path], None]
) -> None:
    (folder / DIFF).unlink()
    make(folder / DIFF)
    verification = await verify(str(folder))
    assert found(verification) == [("Unreadable", DIFF)]
    assert "not a regular file" in only_message(verification)


async def test_a_link_instead_of_a_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "context").rename(tmp_path / "elsewhere")
    (folder / "context").symlink_to(tmp_path / "elsewhere")
    verification = await verify(str(folder))
    assert found(verification) == [("Unreadable", CONTEXT)]
    assert verification.extras == ("context",)


async def test_garbage_that_was_stored_as_an_archive_is_unreadable(folder: Path) -> None:
    replace_object(folder, ROOTFS, b"no zstd at all")
    verification = await verify(str(folder))
    assert found(verification) == [("Unreadable", ROOTFS)]
    assert "although it is stored as the manifest says" in only_message(verification)


async def test_an_archive_that_was_cut_before_it_was_stored_is_noticed(folder: Path) -> None:
    whole = zstandard.compress(ARCHIVE)
    replace_object(folder, ROOTFS, whole[: len(whole) // 2])
    verification = await verify(str(folder))
    assert found(verification) == [("Mismatch", ROOTFS)]
    assert f"of {len(ARCHIVE)} bytes" in only_message(verification)


async def test_another_archive_of_the_same_length_is_noticed(folder: Path) -> None:
    replace_object(folder, ROOTFS, zstandard.compress(ARCHIVE[::-1]))
    assert "decompressed, its SHA-256" in only_message(await verify(str(folder)))


async def test_a_decompression_bomb_is_given_up(folder: Path) -> None:
    replace_object(folder, ROOTFS, zstandard.compress(ARCHIVE + b"more"))
    verification = await verify(str(folder))
    assert found(verification) == [("Unreadable", ROOTFS)]
    assert f"more than the {len(ARCHIVE)} bytes promised" in only_message(verification)


async def test_checksums_that_disagree_with_the_manifest_are_inconsistent(folder: Path) -> None:
    sums = folder / "SHA256SUMS"
    lines = sums.read_text().splitlines()
    wrong = [f"{'0' * 64}  {lines[0].split('  ')[1]}", *lines[2:], f"{'1' * 64}  ghost"]
    sums.write_text("\n".join(wrong) + "\n")
    digest = hashlib.sha256(sums.read_bytes()).hexdigest()
    edit_manifest(
        folder,
        lambda document: [
            subject["digest"].update(sha256=digest)
            for subject in document["subject"]
            if subject["name"] == "SHA256SUMS"
        ],
    )
    verification = await verify(str(folder))
    assert found(verification) == [("Inconsistent", "SHA256SUMS")] * 3
    messages = " ".join(problem.message for problem in verification.problems)
    assert f"another SHA-256 of {DIFF}" in messages
    assert f"does not list {INSPECT}" in messages
    assert "lists ghost" in messages


async def test_a_manifest_without_checksums_is_inconsistent(folder: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["subject"] = [
            subject for subject in document["subject"] if subject["name"] != "SHA256SUMS"
        ]

    edit_manifest(folder, edit)
    verification = await verify(str(folder))
    assert ("Inconsistent", "SHA256SUMS") in found(verification)


async def test_missing_checksums_are_named_once(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    assert found(await verify(str(folder))) == [("Missing", "SHA256SUMS")]


async def test_a_manifest_that_is_none_is_unreadable(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"_type": "x"}')
    verification = await verify(str(folder))
    assert found(verification) == [("Unreadable", "manifest.json")]
    assert verification.statement is None
    assert verification.artifacts == 0


async def test_without_a_manifest_the_bundle_is_unfinished(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(BundleNotFound, match="unfinished"):
        await verify(str(folder))


async def test_a_decompressed_copy_is_no_extra_but_must_be_right(folder: Path) -> None:
    plain = folder / ROOTFS.removesuffix(".zst")
    plain.write_bytes(ARCHIVE)
    assert (await verify(str(folder))).ok
    plain.write_bytes(ARCHIVE[1:])
    assert found(await verify(str(folder))) == [("Mismatch", "containers/web/rootfs.tar")]


async def test_the_seal_is_mentioned_without_a_key_and_checked_with_one(folder: Path) -> None:
    private, public = generate_key()
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.sigstore.json").write_bytes(sign(manifest, private))
    without = await verify(str(folder))
    assert without.ok
    assert without.seal is SealState.UNCHECKED
    assert any("give --key" in note for note in without.notes)
    checked = await verify(str(folder), key=public)
    assert checked.ok
    assert checked.seal is SealState.VALID
    assert checked.notes == ()


async def test_a_manifest_changed_after_sealing_breaks_the_seal(folder: Path) -> None:
    private, public = generate_key()
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.sigstore.json").write_bytes(sign(manifest, private))
    edit_manifest(folder, lambda document: document["predicate"]["order"].update(reason="none"))
    verification = await verify(str(folder), key=public)
    assert found(verification) == [("Mismatch", "manifest.sigstore.json")]
    assert verification.seal is SealState.INVALID


async def test_a_key_but_no_seal_is_a_problem(folder: Path) -> None:
    verification = await verify(str(folder), key=generate_key()[1])
    assert found(verification) == [("Missing", "manifest.sigstore.json")]


async def test_a_seal_that_is_no_file_is_unreadable(folder: Path) -> None:
    (folder / "manifest.sigstore.json").symlink_to("manifest.json")
    verification = await verify(str(folder))
    assert found(verification) == [("Unreadable", "manifest.sigstore.json")]
    assert verification.seal is SealState.INVALID


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../b", "a//b", "", "manifest.json"])
async def test_names_that_lead_elsewhere_are_named_and_not_read(folder: Path, name: str) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["subject"].append({"name": name, "digest": {"sha256": "0" * 64}})

    edit_manifest(folder, edit)
    verification = await verify(str(folder))
    assert ("Inconsistent", name) in found(verification)
    assert ("Missing", name) not in found(verification)
    assert ("Mismatch", name) not in found(verification)


async def test_a_predicate_that_differs_from_the_subjects_is_inconsistent(folder: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        artifact(document, DIFF)["sha256"] = "0" * 64
        artifact(document, INSPECT)["name"] = "unlisted"

    edit_manifest(folder, edit)
    verification = await verify(str(folder))
    assert [problem.message for problem in verification.problems] == [
        "its subject and the capture name different SHA-256s",
        "it is not compressed, yet differs from its original",
        "it is a subject, but the capture does not describe it",
        "the capture describes it, but it is not a subject",
    ]


SHOP = EvidenceIdentity(namespace="shop", pod="web-0", uid="0000aaaa", incident="INC-7")


def of_shop(document: dict[str, Any]) -> None:
    pod = {"namespace": "shop", "name": "web-0", "uid": "0000AAAA"}
    document["predicate"]["order"].update(pod=pod, incident="INC-7")


async def test_the_wanted_evidence_verifies(folder: Path, sealable: FinishedBundle) -> None:
    edit_manifest(folder, of_shop)
    assert (await verify(str(folder), wanted=SHOP)).ok
    request = replace(SHOP, uid=str(sealable.statement.predicate.order.uid))
    assert (await verify(str(folder), wanted=request)).ok
    manifest = (folder / "manifest.json").read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()
    assert (await verify(str(folder), wanted=EvidenceIdentity(manifest_sha256=digest))).ok


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"namespace": "bank"}, "another namespace: 'shop', not 'bank'"),
        ({"pod": "web-1"}, "another pod: 'web-0', not 'web-1'"),
        ({"uid": "1" * 8}, "another UID: "),
        ({"incident": "INC-8"}, "another incident: 'INC-7', not 'INC-8'"),
        ({"manifest_sha256": "0" * 64}, "as was captured"),
    ],
)
async def test_other_evidence_than_was_wanted_is_no_answer(
    folder: Path, other: dict[str, str], what: str
) -> None:
    edit_manifest(folder, of_shop)
    verification = await verify(str(folder), wanted=replace(SHOP, **other))
    assert found(verification) == [("OtherEvidence", "manifest.json")]
    assert what in only_message(verification)


async def test_a_capture_by_hand_is_of_no_pod(folder: Path) -> None:
    verification = await verify(str(folder), wanted=SHOP)
    assert [kind for kind, _ in found(verification)] == ["OtherEvidence"] * 4
    messages = " ".join(problem.message for problem in verification.problems)
    assert "another pod: none, not 'web-0'" in messages


async def test_a_manifest_that_nobody_understands_is_other_evidence_by_its_digest(
    folder: Path,
) -> None:
    (folder / "manifest.json").write_text("{}")
    wanted = replace(SHOP, manifest_sha256="0" * 64)
    verification = await verify(str(folder), wanted=wanted)
    assert {kind for kind, _ in found(verification)} == {"Unreadable", "OtherEvidence"}


async def test_a_sealed_bundle_copied_elsewhere_says_that_it_is_a_copy(folder: Path) -> None:
    private, public = generate_key()
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.sigstore.json").write_bytes(sign(manifest, private))
    copy = shutil.copytree(folder, folder.parent / "elsewhere")
    verification = await verify(str(copy), key=public)
    assert verification.ok
    (note,) = verification.notes
    assert note.startswith("This is a copy")
    assert note.endswith(f"{folder}/")


@pytest.mark.parametrize("destination", ["relative", "https://nowhere", "s3://_"])
async def test_a_location_that_leads_nowhere_is_compared_with_none(
    folder: Path, destination: str
) -> None:
    edit_manifest(
        folder,
        lambda document: document["predicate"]["order"].update(destination=destination),
    )
    assert (await verify(str(folder))).notes == ()


async def test_what_is_named_twice_is_inconsistent(folder: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["subject"].append({"name": DIFF, "digest": {"sha256": "0" * 64}})
        document["predicate"]["artifacts"].append(artifact(document, INSPECT))

    edit_manifest(folder, edit)
    messages = [problem.message for problem in (await verify(str(folder))).problems]
    assert "it is a subject 2 times" in messages
    assert "it is an artifact 2 times" in messages
