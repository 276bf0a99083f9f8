"""A bundle by its public face: found, read, and verified on the way."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import NotCaptured
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.bundles import Bundle, open_bundle
from forensics_core.errors import (
    BundleNotFound,
    ContainerNotFound,
    NotInBundle,
    UsageError,
    VerificationError,
)
from forensics_core.seals import generate_key, sign
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import CONTEXT, DIFF, INSPECT, POD, capture, replace_object, write_bundle
from tests.integration.collector.folder_container import capture_tree
from tests.unit.readers.evidence import change, process, socket, write_evidence

PASSWD = b"root:x:0:0\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bundle with files, and nothing else."""
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "tree" / "etc").mkdir(parents=True)
    (folder / "tree" / "etc" / "passwd").write_bytes(PASSWD)
    (folder / "tree" / os.fsdecode(b"\xff")).write_bytes(b"odd")
    (folder / "tree" / "link").symlink_to("etc/passwd")
    anyio.run(capture_tree, folder / "tree", str(folder / "bundle"))
    yield folder / "bundle"


@pytest.fixture
async def evidence(tmp_path: Path) -> Path:
    """A bundle with an intruder's traces, and no files."""
    return await write_evidence(
        tmp_path / "evidence",
        [change("/tmp/x"), change("/etc/passwd", "C")],
        [process(7, "/bin/sh"), process(8, "/tmp/x", "x", "-v")],
        [socket("LISTEN", ("0.0.0.0", 80), ("0.0.0.0", 0), 7)],  # noqa: S104
    )


async def test_a_bundle_says_what_it_is_and_what_is_not_in_it(tmp_path: Path) -> None:
    finished = await write_bundle(str(tmp_path / "one"))
    async with open_bundle(str(tmp_path / "one")) as bundle:
        assert bundle.location == (tmp_path / "one").as_uri() + "/"
        assert bundle.manifest_sha256 == finished.manifest_sha256
        assert bundle.statement.predicate is bundle.capture
        assert [each.name for each in bundle.artifacts][:2] == [INSPECT, DIFF]
        assert [gap.reason for gap in bundle.gaps] == ["NotPermitted"]
        assert bundle.containers == ["web"]
        web = bundle.container("web")
        assert (web.name, web.facts.container_id) == ("web", "docker://4f2a")
        assert len(web.artifacts) == 3 and [gap.what for gap in web.gaps] == ["processes"]


async def test_artifacts_are_read_and_verified_by_their_names(tmp_path: Path) -> None:
    await write_bundle(str(tmp_path / "one"))
    async with open_bundle(str(tmp_path / "one")) as bundle:
        assert [block async for block in bundle.read(CONTEXT)] == [POD]
        assert await bundle.document(INSPECT) == {"Id": "4f2a"}
        assert await bundle.document("context/none.json") is None
        (tmp_path / "one" / CONTEXT).write_bytes(b"kind: Pad\n")
        with pytest.raises(VerificationError, match="not what the manifest says"):
            _ = [block async for block in bundle.read(CONTEXT)]
        with pytest.raises(NotInBundle, match="no artifact 'x'"):
            await anext(bundle.read("x"))


async def test_a_container_that_is_not_there_is_an_error_that_names_the_others(
    evidence: Path,
) -> None:
    async with open_bundle(str(evidence)) as bundle:
        with pytest.raises(ContainerNotFound, match=r"no container 'db'\. It has: web"):
            bundle.container("db")


async def test_changes_processes_and_sockets_are_read_a_row_at_a_time(evidence: Path) -> None:
    async with open_bundle(str(evidence)) as bundle:
        web = bundle.container("web")
        changes = [(each.kind, each.path) async for each in web.changes()]
        assert changes == [("A", "/tmp/x"), ("C", "/etc/passwd")]
        assert [each["pid"] async for each in web.processes()] == [7, 8]
        (space,) = [each async for each in web.network()]
        assert space["sockets"][0]["state"] == "LISTEN"


async def test_what_was_not_captured_is_an_error_with_its_reason(tmp_path: Path) -> None:
    await write_bundle(str(tmp_path / "one"))
    async with open_bundle(str(tmp_path / "one")) as bundle:
        web = bundle.container("web")
        with pytest.raises(NotInBundle, match="was not captured") as raised:
            await anext(web.processes())
        assert raised.value.hint == "NotPermitted, no CAP_SYS_PTRACE"
        with pytest.raises(NotInBundle, match="does not say why"):
            await anext(web.logs())
        with pytest.raises(NotInBundle, match="no index"):
            await web.read("/etc/passwd")


async def test_a_file_is_read_by_its_path(tree: Path) -> None:
    async with open_bundle(str(tree)) as bundle:
        web = bundle.container("web")
        assert await web.read("/etc/passwd") == PASSWD
        assert await web.read("etc/../etc/passwd") == PASSWD
        assert await web.read(b"/\xff") == b"odd"
        assert [block async for block in web.stream("/etc/passwd")] == [PASSWD]
        with pytest.raises(NotInBundle, match="not in the archive"):
            await web.read("/etc/shadow")
        with pytest.raises(NotInBundle, match="symlink"):
            await web.read("/link")
        with pytest.raises(NotInBundle, match="more than 3 bytes"):
            await web.read("/etc/passwd", limit=3)
        with pytest.raises(NotInBundle, match="was not captured"):
            await anext(web.changes())


async def test_files_are_listed_beneath_a_path(tree: Path) -> None:
    async with open_bundle(str(tree)) as bundle:
        web = bundle.container("web")
        assert sorted([row.path async for row in web.files("/etc")]) == [b"/etc", b"/etc/passwd"]
        assert len([row async for row in web.files()]) == 5
        assert [row async for row in web.files("/nothing")] == []


async def test_a_file_that_was_changed_afterwards_does_not_verify(
    tree: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    async with open_bundle(str(tree)) as bundle:
        for name in (*(each.name for each in bundle.artifacts), "manifest.json"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((tree / name).read_bytes())
    rootfs = copy / "containers/web/rootfs.tar.zst"
    rootfs.write_bytes(bytes(rootfs.stat().st_size))
    async with open_bundle(str(copy)) as bundle:
        with pytest.raises(VerificationError):
            await bundle.container("web").read("/etc/passwd")


async def test_all_lines_of_all_logs_are_read_those_of_gzipped_ones_too(tmp_path: Path) -> None:
    async with open_destination(str(tmp_path / "logged")) as destination:
        writer = BundleWriter(destination)
        for name, data in (("0.log", b"one\ntwo\n"), ("1.log.gz", gzip.compress(b"three\n"))):
            spec = ArtifactSpec(f"containers/web/logs/{name}", ArtifactKind.LOGS, "web")
            await writer.add(spec, one(data))
        writer.record_gap(NotCaptured(what="network", reason="Gone", message="it ended"))
        await writer.finish(capture())
    async with open_bundle(str(tmp_path / "logged")) as bundle:
        lines = [line async for line in bundle.container("web").logs()]
    assert lines == [b"one", b"two", b"three"]


async def sealed(folder: Path) -> tuple[bytes, bytes]:
    """Write a bundle and seal it; return the public key and another one."""
    await write_bundle(str(folder))
    private, public = generate_key()
    (folder / "manifest.sigstore.json").write_bytes(
        sign((folder / "manifest.json").read_bytes(), private)
    )
    return public, generate_key()[1]


async def opened(folder: Path, key: bytes | None = None, sha256: str = "") -> Bundle:
    async with open_bundle(str(folder), key=key, sha256=sha256) as bundle:
        return bundle


async def test_with_a_key_only_a_bundle_whose_seal_holds_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    public, another = await sealed(folder)
    sha256 = (await opened(folder, public)).manifest_sha256
    await opened(folder, public, sha256)
    with pytest.raises(VerificationError, match="not made with this key"):
        await opened(folder, another)
    with pytest.raises(UsageError, match="not a public key"):
        await opened(folder, b"")
    with pytest.raises(VerificationError, match="somebody replaced it"):
        await opened(folder, public, "0" * 64)
    replace_object(folder, DIFF, b"{}")
    with pytest.raises(VerificationError, match="over another manifest"):
        await opened(folder, public)
    (folder / "manifest.sigstore.json").unlink()
    with pytest.raises(VerificationError, match="no seal"):
        await opened(folder, public)


async def test_where_there_is_no_bundle_none_is_opened(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound):
        await opened(tmp_path)
