"""Objects held against what is expected of them, by the store's word and by their bytes."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import AsyncIterator, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import zstandard
from anyio import to_thread

from forensics_core.bundle.byte_check import BESIDE
from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.object_checks import (
    MAX_READ,
    SMALL,
    check_each,
    check_stored,
    compare,
    discard,
)
from forensics_core.bundle.unpacking import PIECE
from forensics_core.bundle.verification import Problem, ProblemKind
from forensics_core.errors import (
    AccessDenied,
    DestinationError,
    DestinationUnreachable,
    ForensicsError,
    ObjectNotFound,
)
from forensics_core.storage.local import LocalStorage
from forensics_core.storage.objects import StoredObject
from tests.unit.bundle.test_versions import Versions

DATA = b"evidence"
DIGEST = hashlib.sha256(DATA).hexdigest()


def objects(number: int) -> list[ExpectedObject]:
    """Return so many expectations."""
    return [ExpectedObject(str(each), DIGEST) for each in range(number)]


async def stored(folder: Path, *expected: ExpectedObject) -> list[str]:
    """Return what is wrong with what lies in a folder."""
    problems = await check_stored(LocalStorage(folder), expected, at_once=2, most_wrong=9)
    return sorted(f"{problem.name} {problem.message}" for problem in problems)


async def test_so_many_objects_are_checked_at_once_and_no_more() -> None:
    running, most, full = 0, 0, anyio.Event()

    async def check(_: ExpectedObject) -> list[Problem]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        running -= 1
        return []

    assert await check_each(objects(9), check, at_once=3) == []
    assert most == 3


@pytest.mark.parametrize(("most_wrong", "looked_at"), [(2, 2), (None, 5)])
async def test_after_so_many_problems_no_other_object_is_begun(
    most_wrong: int | None, looked_at: int
) -> None:
    seen: list[str] = []

    async def check(each: ExpectedObject) -> list[Problem]:
        seen.append(each.name)
        return [Problem(ProblemKind.MISSING, each.name, "is not stored")]

    problems = await check_each(objects(5), check, at_once=1, most_wrong=most_wrong)
    assert [problem.name for problem in problems] == seen
    assert len(seen) == looked_at


async def test_an_object_that_only_its_bytes_can_vouch_for_is_read(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_bytes(DATA)
    assert await stored(tmp_path, ExpectedObject("SHA256SUMS", DIGEST)) == []
    (tmp_path / "SHA256SUMS").write_bytes(DATA[::-1])
    wrong = ["SHA256SUMS is stored with another content"]
    assert await stored(tmp_path, ExpectedObject("SHA256SUMS", DIGEST)) == wrong


async def test_what_the_listing_tells_is_not_asked_for(tmp_path: Path) -> None:
    class Listed(LocalStorage):
        async def list(
            self, begin: str = "", *, only: Set[str] | None = None
        ) -> builtins.list[StoredObject]:
            return [StoredObject(str(each), 3, etag=f"tag-{each}") for each in range(4)]

        async def stat(self, name: str, version_id: str | None = None) -> StoredObject:
            raise AssertionError(name)

    def expected(number: int, size: int = 3, etag: str = "") -> ExpectedObject:
        return ExpectedObject(str(number), DIGEST, size, etag=etag or f"tag-{number}")

    store = Listed(tmp_path)
    found = await check_stored(store, [expected(0), expected(1)], at_once=1, most_wrong=9)
    assert found == []
    other = [expected(0, size=4), expected(1, etag="other"), expected(2, size=5), expected(3)]
    found = await check_stored(store, other, at_once=1, most_wrong=9)
    assert [problem.message for problem in found] == [
        "is stored with 3 bytes, not 4",
        "is stored with another content",
        "is stored with 3 bytes, not 5",
    ]
    found = await check_stored(store, other, at_once=1, most_wrong=2)
    assert [problem.name for problem in found] == ["0", "1"], "it looks no further"


async def test_what_is_more_than_the_store_said_is_another_content(tmp_path: Path) -> None:
    class Lying(LocalStorage):
        async def list(
            self, begin: str = "", *, only: Set[str] | None = None
        ) -> builtins.list[StoredObject]:
            return [replace(entry, size=1) for entry in await super().list(begin, only=only)]

    data = bytes(SMALL + 1)
    (tmp_path / "a").write_bytes(data)
    expected = ExpectedObject("a", hashlib.sha256(data).hexdigest())
    found = await check_stored(Lying(tmp_path), [expected], at_once=1, most_wrong=9)
    assert [problem.message for problem in found] == ["is stored with another content"]


async def test_what_is_not_small_is_read_all_the_same(tmp_path: Path) -> None:
    data = bytes(SMALL + 1)
    (tmp_path / "a").write_bytes(data)
    assert await stored(tmp_path, ExpectedObject("a", hashlib.sha256(data).hexdigest())) == []


async def test_an_artifact_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA[::-1])
    row = ExpectedObject("a", DIGEST, len(DATA), described=True, crc64nvme="x")
    assert await stored(tmp_path, row) == []
    (tmp_path / "a").write_bytes(b"")
    assert await stored(tmp_path, row) == [f"a is stored with 0 bytes, not {len(DATA)}"]


async def test_what_is_missing_or_named_like_nothing_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    tagged = ExpectedObject("a", DIGEST, len(DATA), etag='"1"')
    wrong = await stored(tmp_path, tagged, ExpectedObject("b", DIGEST))
    assert wrong == ["a is stored with another content", "b is not stored"]


async def test_what_is_too_large_to_be_read_again_is_another_content(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(MAX_READ + 1)
    assert await stored(tmp_path, ExpectedObject("a", DIGEST)) == [
        "a is stored with another content"
    ]


class Summing(Versions):
    """A store with versions and checksums, which may refuse to list, or to tell of an object."""

    refuses: ForensicsError | None = None

    async def stat(self, name: str, version_id: str | None = None) -> StoredObject:
        if self.refuses:
            raise self.refuses
        for entry in self.entries:
            if (entry.name, entry.version_id) == (name, version_id):
                return replace(entry, crc64nvme="sum")
        raise ObjectNotFound(f"{name} is not there")


async def in_versions(store: Summing, *expected: ExpectedObject) -> list[str]:
    problems = await check_stored(
        store,  # type: ignore[arg-type] # nothing is created
        expected,
        at_once=2,
        most_wrong=9,
    )
    return sorted(f"{problem.name} {problem.message}" for problem in problems)


@pytest.mark.parametrize(
    ("version", "checksum", "wrong"),
    [
        ("1", "sum", []),
        # Without a version the first counts, which is another's here.
        (None, "sum", ["a is stored with 1 bytes, not 8"]),
        ("7", "sum", ["a is not stored"]),
        ("1", "other", ["a is stored with another checksum"]),
        # A store that sums by itself has one though none was promised.
        ("1", None, ["a is stored with another checksum"]),
    ],
)
async def test_an_artifact_is_the_version_with_the_checksum_that_its_row_names(
    version: str | None, checksum: str | None, wrong: list[str]
) -> None:
    store = Summing(("a", b"x"), ("a", DATA))
    row = ExpectedObject("a", DIGEST, len(DATA), version, described=True, crc64nvme=checksum)
    assert await in_versions(store, row) == wrong


async def test_where_nothing_may_be_listed_each_object_is_asked_for() -> None:
    store = Summing(("a", DATA), fails=AccessDenied("no listing"))
    row = ExpectedObject("a", DIGEST, len(DATA), "0", described=True, crc64nvme="sum")
    assert await in_versions(store, row) == []


async def test_a_name_that_the_store_cannot_have_is_a_problem_and_a_refusal_is_none() -> None:
    store = Summing(("a", DATA))
    row = ExpectedObject("a", DIGEST, len(DATA), "0", described=True)
    store.refuses = DestinationError("no such name")
    assert await in_versions(store, row) == ["a cannot be stored there"]
    # That nobody may look says nothing about the evidence: it is tried again.
    store.refuses = AccessDenied("no")
    with pytest.raises(AccessDenied):
        await in_versions(store, row)


async def test_a_store_that_is_away_says_nothing_about_the_evidence() -> None:
    with pytest.raises(DestinationUnreachable):
        await in_versions(Summing(fails=DestinationUnreachable("away")))


LARGE = b"".join(bytes([number]) * PIECE for number in range(BESIDE // PIECE + 2))
STORED = zstandard.ZstdCompressor().compress(LARGE)
PROMISED = ExpectedObject(
    "rootfs.tar.zst",
    hashlib.sha256(STORED).hexdigest(),
    size=len(STORED),
    compressed=True,
    original_sha256=hashlib.sha256(LARGE).hexdigest(),
    original_size=len(LARGE),
    described=True,
)
"""An archive that is hashed beside its decompression."""


async def in_pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100):
        yield data[start : start + 100]


async def test_a_large_archive_that_is_as_promised_has_no_problem() -> None:
    assert await compare(in_pieces(STORED), PROMISED, discard) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"original_sha256": DIGEST}, "decompressed, its SHA-256 is not"),
        ({"original_size": len(LARGE) - 1}, "decompresses to more than"),
        ({"original_size": len(LARGE) + 1}, f"decompresses to {len(LARGE)} of"),
        ({"sha256": DIGEST}, "its SHA-256 is"),
        ({"size": len(STORED) - 101}, "it is too long"),
        ({"size": len(STORED) + 1}, "it is truncated"),
    ],
)
async def test_a_large_archive_that_is_another_one_is_told(
    change: dict[str, Any], words: str
) -> None:
    problem = await compare(in_pieces(STORED), replace(PROMISED, **change), discard)
    assert problem is not None
    assert words in problem.message


async def test_who_is_cancelled_in_the_middle_of_a_large_archive_leaves_no_thread() -> None:
    async def stop(_: bytes) -> None:
        scope.cancel()

    before = to_thread.current_default_thread_limiter().borrowed_tokens
    with anyio.CancelScope() as scope:
        await compare(in_pieces(STORED), PROMISED, stop)
    assert scope.cancelled_caught
    assert to_thread.current_default_thread_limiter().borrowed_tokens == before


async def test_what_cannot_be_read_any_more_is_raised_as_it_is() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield STORED[:100]
        raise DestinationUnreachable("gone")

    with pytest.raises(DestinationUnreachable):
        await compare(broken(), PROMISED, discard)
