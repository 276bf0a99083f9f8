"""Which version counts, where objects come and go while they are looked at."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Set

import pytest

from forensics_core.bundle.layout import MANIFEST, SEAL
from forensics_core.bundle.seal import generate_key, sign
from forensics_core.bundle.versions import (
    MAX_LOOKED_AT,
    choose_manifest,
    choose_sealed,
    history_of,
    version_to_read,
)
from forensics_core.errors import (
    AccessDenied,
    DestinationError,
    DestinationUnreachable,
    ObjectNotFound,
)
from forensics_core.storage.objects import StoredObject

LIMIT = 10_000


class Versions:
    """A store that holds versions in memory; what is None went away since it was listed."""

    url = "memory:///"

    def __init__(self, *versions: tuple[str, bytes | None], fails: Exception | None = None) -> None:
        self._content = {str(at): data for at, (_, data) in enumerate(versions)}
        self.entries = [
            StoredObject(name, len(data or b""), str(at))
            for at, (name, data) in enumerate(versions)
        ]
        self.reads = 0
        self._fails = fails

    async def list(self, begin: str = "", *, only: Set[str] | None = None) -> list[StoredObject]:
        if self._fails:
            raise self._fails
        there = [entry for entry in self.entries if entry.name.startswith(begin)]
        return [entry for entry in there if only is None or entry.name in only]

    async def read(self, name: str, version_id: str | None = None) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        data = self._content[version_id or ""]
        if data is None:
            raise ObjectNotFound(f"{name} is not there")
        yield data

    def read_range(
        self, name: str, start: int, length: int | None, version_id: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError


def of(store: Versions, name: str) -> list[StoredObject]:
    return [entry for entry in store.entries if entry.name == name]


@pytest.mark.parametrize(
    ("versions", "recorded", "read"),
    [
        ([], "v1", "v1"),
        ([], None, None),
        ([StoredObject("x", 1)], None, None),
        ([StoredObject("x", 1)], "v1", None),
        ([StoredObject("x", 1, "v1"), StoredObject("x", 1, "v2")], "v2", "v2"),
        ([StoredObject("x", 1, "v1"), StoredObject("x", 1, "v2")], "v0", "v1"),
        ([StoredObject("x", 1, "v1"), StoredObject("x", 1, "v2")], None, "v1"),
        ([StoredObject("x", 0, "v1", deleted=True), StoredObject("x", 1, "v2")], None, "v2"),
        ([StoredObject("x", 1, "null", latest=False), StoredObject("x", 1, "v2")], None, "null"),
        ([StoredObject("x", 1, "v1", latest=False), StoredObject("x", 1)], None, "v1"),
        ([StoredObject("x", 1, version_known=False)], "v1", "v1"),
        ([StoredObject("x", 1, version_known=False)], None, None),
    ],
)
def test_the_recorded_version_counts_or_else_the_first(
    versions: list[StoredObject], recorded: str | None, read: str | None
) -> None:
    assert version_to_read(versions, recorded) == read


async def test_the_manifest_with_the_digest_counts_wherever_it_lies() -> None:
    store = Versions(
        (MANIFEST, b"1"), (MANIFEST, None), (MANIFEST, b"x" * LIMIT * 2), (MANIFEST, b"3")
    )
    for data, version in ((b"1", "0"), (b"3", "3"), (b"another", "0"), (b"x" * LIMIT * 2, "0")):
        digest = hashlib.sha256(data).hexdigest()
        assert await choose_manifest(store, store.entries, digest, limit=LIMIT) == version
    assert await choose_manifest(store, store.entries, "", limit=LIMIT) == "0"
    assert await choose_manifest(store, [], "", limit=LIMIT) is None


async def test_however_many_manifests_are_added_few_are_read() -> None:
    store = Versions(*[(MANIFEST, b"%d" % number) for number in range(10 * MAX_LOOKED_AT)])
    digest = hashlib.sha256(b"none of them").hexdigest()
    assert await choose_manifest(store, store.entries, digest, limit=LIMIT) == "0"
    assert store.reads == MAX_LOOKED_AT


async def test_manifest_and_seal_that_belong_together_are_found() -> None:
    private, public = generate_key()
    other = sign(b"first", generate_key()[0])
    store = Versions(
        (MANIFEST, b"gone!" * 1000),
        (MANIFEST, None),
        (MANIFEST, b"first"),
        (MANIFEST, b"other"),
        (SEAL, b"no seal"),
        (SEAL, other),
        (SEAL, None),
        (SEAL, sign(b"other", private)),
    )
    history = {name: of(store, name) for name in (MANIFEST, SEAL)}
    found = await choose_sealed(store, history, public, limit=LIMIT)
    assert found == {MANIFEST: "3", SEAL: "7"}
    assert await choose_sealed(store, history, generate_key()[1], limit=LIMIT) == {}


async def test_an_identity_that_may_not_list_goes_by_what_is_current() -> None:
    store = Versions((MANIFEST, b"1"), ("manifest.json.more", b"2"))
    assert await history_of(store, MANIFEST) == of(store, MANIFEST)
    for refusal in (AccessDenied("no"), DestinationError("too many")):
        assert await history_of(Versions(fails=refusal), MANIFEST) is None
    with pytest.raises(DestinationUnreachable):
        await history_of(Versions(fails=DestinationUnreachable("away")), MANIFEST)
