"""Bundles that are made to harm their readers: bounded, told, and the rest is still read."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from forensics_core._internal.flaws import Flaws
from forensics_core._internal.strict_json import loads_document, loads_row
from forensics_core.bundle.fetch import fetch, unusable_names
from forensics_core.bundle.reader import open_bundle
from forensics_core.errors import VerificationError
from forensics_core.readers.changes import change_batches, changes
from forensics_core.tarindex.row import read_rows
from tests.bundles import DIFF, INSPECT, artifact, edit_manifest, replace_object, write_bundle

MEASURE = """
import resource, subprocess, sys
with open("/dev/null", "wb") as sink:
    code = subprocess.run(sys.argv[1:], stdout=sink).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
ROW = {
    "path": "/x",
    "type": "file",
    "mode": "0644",
    "uid": 0,
    "gid": 0,
    "size": 1,
    "mtime": "0",
    "atime": "",
    "ctime": "",
}


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    await write_bundle(str(tmp_path / "bundle"))
    return tmp_path / "bundle"


def pack(folder: Path, original: bytes, **claims: Any) -> None:
    replace_object(folder, DIFF, zstandard.compress(original))
    said = {
        "compression": "zstd",
        "originalSize": len(original),
        "originalSha256": hashlib.sha256(original).hexdigest(),
        **claims,
    }
    edit_manifest(folder, lambda document: artifact(document, DIFF).update(said))


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_list_of_changes_is_never_in_memory_as_a_whole(folder: Path, output: str) -> None:
    row = b'{"kind":"A","path":"/%s"},\n' % (b"x" * 250)
    pack(folder, b'{"changes": [' + row * 300_000 + row[:-2] + b"]}")
    program = "from forensics_core.cli.main import main; main()"
    listing = [sys.executable, "-c", program, "ls", "--changes", str(folder), "web", "-o", output]
    command = [sys.executable, "-c", MEASURE, *listing]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    code, kilobytes = map(int, done.stdout.split())
    assert code == 0
    assert kilobytes < 160 * 1024


async def test_changes_in_pieces_are_those_that_were_written(folder: Path) -> None:
    paths = [f"/{number}/\u00e9{'x' * (number % 300)}" for number in range(20_000)]
    rows = [{"kind": "A", "path": path} for path in paths]
    pack(folder, json.dumps({"changes": rows}, ensure_ascii=False).encode())
    async with open_bundle(str(folder)) as bundle:
        assert [change.path for change in await changes(bundle, "web")] == paths


@pytest.mark.parametrize(
    "data",
    [
        b'{"changes": [' + b"[" * 100_000,
        b'{"changes": [{"kind": "A", "path": Infinity}]}',
        b'{"changes": [{"kind": "A", "path": "' + b"x" * 6_000_000,
        b'{"changes": [{"kind": "A", "path": "/"},',
        b'{"changes": [{"kind": "A", "path": "\xff"}]}',
        b'{"changes": [7]}',
        b'{"changes": {}}',
    ],
)
async def test_hostile_lists_of_changes_do_not_verify(folder: Path, data: bytes) -> None:
    pack(folder, data)
    async with open_bundle(str(folder)) as bundle:
        with pytest.raises(VerificationError, match="not a list of changes"):
            await changes(bundle, "web")


@pytest.mark.parametrize(
    "row",
    [
        b"7",
        b"NaN",
        b'{"kind": "A"}',
        b'{"kind": "A", "path": 7}',
        b'{"kind": "A", "path": "\xff"}',
        b'{"kind": "A", "path": "\\ud800"}',
        b'{"kind": "A", "path": "/z", "size": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"kind": "A", "path": "' + b"x" * 6_000_000 + b'"}',
    ],
)
async def test_one_row_that_is_none_hides_no_other(folder: Path, row: bytes) -> None:
    before, after = b'{"kind": "A", "path": "/before"}', b'{"kind": "A", "path": "/after"}'
    pack(folder, b'{"changes": [\n' + b",\n".join([before, row, after]) + b"\n]}\n")
    found = []
    async with open_bundle(str(folder)) as bundle:
        with pytest.raises(VerificationError, match="is not a list of changes"):
            async for batch in change_batches(bundle, "web"):
                found += [change.path for change in batch]
    assert found == ["/before", "/after"]


async def test_more_changes_than_fit_are_had_in_batches_only(
    folder: Path,
) -> None:
    pack(folder, json.dumps({"changes": [{"kind": "A", "path": "/"}] * 2}).encode())
    async with open_bundle(str(folder)) as bundle:
        with pytest.raises(VerificationError, match="more than 1"):
            await changes(bundle, "web", at_most=1)
        assert [len(batch) async for batch in change_batches(bundle, "web")] == [2]


@pytest.mark.parametrize(
    "wrong",
    [
        '"uid": Infinity',
        '"uid": NaN',
        '"uid": 1e999',
        '"gid": 1.5',
        '"uid": ' + "9" * 5000,
        '"gid": 99999999999999999999999',
        '"size": true',
        '"size": -1',
        '"uid": []',
        '"mtime": {}',
        '"path": ' + "[" * 100_000,
        '"path": 7',
        '"path": "x"',
    ],
)
def test_rows_of_wrong_types_do_not_verify(wrong: str) -> None:
    good = json.dumps(ROW).encode()
    flaws = Flaws("index", "holds a row that is not valid")
    bad = (json.dumps(ROW)[:-1] + f", {wrong}}}").encode()
    (rows,) = read_rows(good + b"\n" + bad + b"\n" + good, flaws)
    assert [row.path for row in rows] == [b"/x", b"/x"], "the others are there"
    with pytest.raises(
        VerificationError, match=r"a row that is not valid: .*1 place was passed over"
    ) as raised:
        flaws.check()
    assert len(str(raised.value)) < 500


def test_documents_of_many_empty_values_are_refused() -> None:
    assert loads_document(b"[{}, 1]") == [{}, 1]
    with pytest.raises(ValueError, match="too many values"):
        loads_document(b"[" + b"{}," * 400_000 + b"{}]")
    with pytest.raises(ValueError, match="nested"):
        loads_row(b"[" * 100_000)


def test_long_rows_of_short_arguments_are_read_and_of_empty_lists_are_not() -> None:
    assert len(loads_row(b"[" + b'"ab",' * 400_000 + b'"["]')) == 400_001
    with pytest.raises(ValueError, match="too many values"):
        loads_row(b"[" + b"[]," * 400_000 + b"[]]")


def add_names(folder: Path, *names: str) -> None:
    """Name objects like the one that is there, and store those that a folder takes."""

    def change(document: dict[str, Any]) -> None:
        for name in names:
            row = copy.deepcopy(artifact(document, INSPECT)) | {"name": name}
            document["predicate"]["artifacts"].append(row)
            digest = {"sha256": row["sha256"]}
            document["subject"].append({"name": name, "digest": digest})

    edit_manifest(folder, change)


@pytest.mark.parametrize(
    "name",
    [
        "x" * 250,
        "\u00e9" * 120 + "/inner",
        f"{DIFF}/inner",
        "manifest.json/inner",
        "folder.unverified/inner",
        "../outside",
        "a/../../outside",
        "nul\0",
    ],
)
async def test_a_name_that_no_file_can_have_stops_no_other(
    folder: Path, tmp_path: Path, name: str
) -> None:
    add_names(folder, name)
    fetched = await fetch(str(folder), tmp_path / "copy")
    assert name in {problem.name for problem in fetched.problems}
    with pytest.raises(VerificationError):
        fetched.raise_for_problems()
    assert (tmp_path / "copy" / DIFF).read_bytes() == (folder / DIFF).read_bytes()
    assert not (tmp_path / "outside").exists()


async def test_a_plain_copy_never_takes_the_name_of_a_folder(folder: Path, tmp_path: Path) -> None:
    add_names(folder, "containers/web/rootfs.tar/inner")
    inner = folder / "containers/web/rootfs.tar/inner"
    inner.parent.mkdir()
    inner.write_bytes((folder / INSPECT).read_bytes())
    await fetch(str(folder), tmp_path / "copy", decompress=True)
    assert (tmp_path / "copy/containers/web/rootfs.tar/inner").exists()


def test_names_that_differ_in_case_only_are_fit_where_files_can_be() -> None:
    assert unusable_names(["containers/Web/a", "containers/web/a", "back\\slash"]) == {}
