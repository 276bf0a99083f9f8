"""What cannot be read of a bundle makes the exit code 3, and hides nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import zstandard
from click.testing import CliRunner, Result

from forensics_core.cli.main import forensics
from forensics_core.pipeline import seektable
from forensics_core.pipeline.seektable import Frame
from tests.bundles import artifact, edit_manifest, replace_object
from tests.integration.collector.folder_container import capture_tree

WEB = "containers/web/"
INDEX, LOOKUP = WEB + "rootfs.index.jsonl.zst", WEB + "rootfs.lookup.jsonl.zst"
NAMES = ("first", "second", "third")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in NAMES:
        (tree / name).write_text(f"content of {name}\n")
    anyio.run(partial(capture_tree, tree, str(tmp_path / "bundle")))
    return tmp_path / "bundle"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(forensics, [str(argument) for argument in arguments])


def rows_of(folder: Path) -> list[bytes]:
    stored = (folder / INDEX).read_bytes()
    reader = zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True)
    return reader.read().splitlines(keepends=True)


def store(folder: Path, name: str, *pieces: bytes) -> None:
    """Store frames anew, and let the manifest vouch for them, as a hostile node can."""
    packed = [zstandard.compress(piece) for piece in pieces]
    frames = [Frame(len(a), len(b)) for a, b in zip(packed, pieces, strict=True)]
    replace_object(folder, name, b"".join(packed) + seektable.encode(frames))
    whole = b"".join(pieces)
    said = {"originalSize": len(whole), "originalSha256": hashlib.sha256(whole).hexdigest()}
    edit_manifest(folder, lambda document: artifact(document, name).update(said))


def entry(chunk: bytes, **other: Any) -> bytes:
    """Return a chunk's line of the lookup table; its filter denies nothing."""
    said = {"sha256": hashlib.sha256(chunk).hexdigest(), "size": len(chunk), "rows": 1}
    said["filter"] = base64.b64encode(b"\xff").decode()
    return json.dumps({**said, **other}).encode() + b"\n"


def index_of(folder: Path, chunks: list[bytes], table: list[bytes] | None = None) -> None:
    store(folder, INDEX, *chunks)
    store(folder, LOOKUP, b"".join(table or map(entry, chunks)))


def spoil_a_row(folder: Path, rows: list[bytes]) -> None:
    index_of(folder, [b"".join([rows[0], b'{"path":"/x","size":Infinity}\n', *rows[1:]])])


def spoil_a_deep_row(folder: Path, rows: list[bytes]) -> None:
    index_of(folder, [b"".join([b"[" * 100_000 + b"\n", *rows])])


def spoil_a_chunk(folder: Path, rows: list[bytes]) -> None:
    bad = b'{"path":"/x"}\n'
    index_of(folder, [bad, *rows], [entry(bad, sha256="0" * 64), *map(entry, rows)])


def spoil_a_line_of_the_table(folder: Path, rows: list[bytes]) -> None:
    bad = b'{"path":"/x"}\n'
    index_of(folder, [bad, *rows], [b"[]\n", *map(entry, rows)])


def spoil_a_size_in_the_table(folder: Path, rows: list[bytes]) -> None:
    bad = b'{"path":"/x"}\n'
    index_of(folder, [bad, *rows], [entry(bad, size=1), *map(entry, rows)])


def spoil_the_end_of_the_table(folder: Path, rows: list[bytes]) -> None:
    index_of(folder, [*rows, b'{"path":"/x"}\n'], [*map(entry, rows)])


def spoil_a_frame(folder: Path, rows: list[bytes]) -> None:
    index_of(folder, [b'{"path":"/x"}\n', *rows])
    data = bytearray((folder / INDEX).read_bytes())
    data[:4] = bytes(4)
    replace_object(folder, INDEX, bytes(data))


Spoil = Callable[[Path, list[bytes]], None]
SPOILS = [
    spoil_a_row,
    spoil_a_deep_row,
    spoil_a_chunk,
    spoil_a_line_of_the_table,
    spoil_a_size_in_the_table,
    spoil_the_end_of_the_table,
    spoil_a_frame,
]


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("options", [[], ["-R"]])
def test_the_other_files_are_listed(bundle: Path, spoil: Spoil, options: list[str]) -> None:
    spoil(bundle, rows_of(bundle))
    result = invoke("ls", bundle, "web:/", *options)
    names = [line.rpartition(" ")[2].lstrip("/") for line in result.stdout.splitlines()]
    assert (result.exit_code, set(NAMES) - set(names)) == (3, set())
    assert "passed over, the rest read" in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("spoil", SPOILS)
def test_what_is_printed_as_json_is_whole(bundle: Path, spoil: Spoil) -> None:
    spoil(bundle, rows_of(bundle))
    result = invoke("ls", bundle, "web:/", "-o", "json")
    said = json.loads(result.stdout)
    assert [row["path"] for row in said["files"]] == [f"/{name}" for name in NAMES]
    assert result.exit_code == 3 and "passed over" in said["error"]


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_file_whose_row_is_genuine_is_printed(bundle: Path, spoil: Spoil) -> None:
    spoil(bundle, rows_of(bundle))
    result = invoke("cat", bundle, "web:/second")
    assert (result.exit_code, result.stdout) == (0, "content of second\n")
    result = invoke("cat", bundle, "web:/nowhere")
    assert result.exit_code == 3, "it may have been what was passed over"


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_timeline_has_the_rest(bundle: Path, spoil: Spoil) -> None:
    spoil(bundle, rows_of(bundle))
    result = invoke("timeline", bundle)
    assert result.exit_code == 3 and "passed over" in result.stderr
    assert all(f" /{name} file " in result.stdout for name in NAMES)


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_report_says_what_was_not_looked_at(bundle: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil(bundle, rows_of(bundle))
    report = tmp_path / "report.md"
    result = invoke("report", bundle, "-o", report)
    assert result.exit_code == 3 and "passed over" in report.read_text()


@pytest.mark.parametrize("spoil", ["other", "longer"])
def test_changes_that_unpack_to_something_else_are_shown_and_make_the_exit_code_3(
    bundle: Path, spoil: str
) -> None:
    """A node vouches for the stored bytes, and lies about what they unpack to."""
    rows = b'{"changes": [\n{"kind": "A", "path": "/added"}\n]}\n'
    name = WEB + "diff.json.zst"
    add_changes(bundle, name, zstandard.compress(rows + b" " * (spoil == "longer")))
    said = {"originalSize": len(rows), "originalSha256": hashlib.sha256(rows).hexdigest()}
    if spoil == "other":
        said["originalSha256"] = "0" * 64
    edit_manifest(bundle, lambda document: artifact(document, name).update(said))
    result = invoke("ls", bundle, "web", "--changes")
    assert result.exit_code == 3 and "/added" in result.stdout
    assert "decompressed it is not what the manifest says" in result.stderr


def add_changes(folder: Path, name: str, data: bytes) -> None:
    """Name one more artifact, a list of changes, with the digest that it has."""
    digest = hashlib.sha256(data).hexdigest()
    (folder / name).write_bytes(data)

    def edit(document: dict[str, Any]) -> None:
        rows = document["predicate"]["artifacts"]
        (archive,) = (row for row in rows if row["name"].endswith("rootfs.tar.zst"))
        rows.append({**archive, "name": name, "kind": "diff", "sha256": digest, "size": len(data)})
        document["subject"].append({"name": name, "digest": {"sha256": digest}})

    edit_manifest(folder, edit)
