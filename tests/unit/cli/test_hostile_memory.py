"""The memory that readers take for bundles made to exhaust it: real processes, measured."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import zstandard

from forensics_core.pipeline import seektable
from forensics_core.pipeline.seektable import Frame
from forensics_core.tarindex.archive import MAX_TABLE
from tests.bundles import artifact, edit_manifest, replace_object
from tests.integration.collector.folder_container import capture_tree
from tests.unit.cli.test_reading_on import INDEX, LOOKUP, store

MIB = 1024
"""In kilobytes, as the kernel counts."""
MEASURE = """
import resource, subprocess, sys
with open("/dev/null", "wb") as sink:
    done = subprocess.run(sys.argv[1:], stdout=sink, stderr=subprocess.PIPE)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.stderr.decode())
"""
FORENSICS = "from forensics_core.cli.main import main; main()"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("content")
    anyio.run(partial(capture_tree, tree, str(tmp_path / "bundle")))
    return tmp_path / "bundle"


def measured(*arguments: str | Path) -> tuple[int, int, str]:
    """Run the command line; return its exit code, kilobytes at its peak, and its errors."""
    command = [sys.executable, "-c", MEASURE, sys.executable, "-c", FORENSICS, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    code, kilobytes, *error = done.stdout.split(maxsplit=2)
    return int(code), int(kilobytes), "".join(error)


def many_artifacts(folder: Path, number: int) -> None:
    """Name so many artifacts; none of them is there."""
    path = folder / "manifest.json"
    document = json.loads(path.read_bytes())
    row = json.dumps(document["predicate"]["artifacts"][0])
    name = json.dumps(document["predicate"]["artifacts"][0]["name"])
    rows = (row.replace(name, f'"n/{each}"', 1) for each in range(number))
    document["predicate"]["artifacts"] = ["ROWS"]
    before, after = json.dumps(document).split('"ROWS"')
    with path.open("w") as file:
        file.write(before + next(rows))
        file.writelines(f", {each}" for each in rows)
        file.write(after)


def a_million_artifacts(folder: Path) -> None:
    many_artifacts(folder, 1_000_000)


def a_false_seek_table(folder: Path) -> None:
    """It has as many frames as a table can, each without anything in it."""
    table = seektable.encode([Frame(0, 0)] * (MAX_TABLE // 8 - 100))
    replace_object(folder, INDEX, table)
    empty = {"originalSize": 0, "originalSha256": hashlib.sha256(b"").hexdigest()}
    edit_manifest(folder, lambda document: artifact(document, INDEX).update(empty))


def a_lookup_table_of_nothing(folder: Path) -> None:
    """As many lines as fit, of frames that are there."""
    line = b'{"sha256":"","size":2,"filter":""}\n'
    number = 4 * 1024 * 1024 // len(line)
    frame = zstandard.compress(b"\n")
    table = seektable.encode([Frame(len(frame), 1)] * number)
    replace_object(folder, INDEX, frame * number + table)
    said = {"originalSize": number, "originalSha256": hashlib.sha256(b"\n" * number).hexdigest()}
    edit_manifest(folder, lambda document: artifact(document, INDEX).update(said))
    store(folder, LOOKUP, line * number)


def a_frame_of_short_rows(folder: Path) -> None:
    """One chunk of rows that are as short as can be, and unpack to very many."""
    row = b'{"path":"/","type":"file","mode":"0","uid":0,"gid":0,"size":0,"mtime":"","atime":"",'
    rows = (row + b'"ctime":""}\n') * 200_000
    store(folder, INDEX, rows)
    entry = {"sha256": hashlib.sha256(rows).hexdigest(), "size": len(rows), "filter": "/w=="}
    store(folder, LOOKUP, json.dumps(entry).encode() + b"\n")


Make = Callable[[Path], None]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("make", "code", "most"),
    [
        (a_million_artifacts, 3, 160),
        (a_false_seek_table, 3, 320),
        (a_lookup_table_of_nothing, 3, 320),
        (a_frame_of_short_rows, 0, 320),
    ],
)
def test_listing_takes_a_bounded_amount_of_memory(
    bundle: Path, make: Make, code: int, most: int
) -> None:
    make(bundle)
    found, kilobytes, error = measured("ls", bundle, "web:/", "-R")
    assert found == code, error
    assert kilobytes < most * MIB


def manifest_of(folder: Path, pieces: str) -> None:
    """Make a manifest of nearly 16 MiB, the most that is read, whose artifacts are these."""
    number = 16 * 1024 * 1024 // 750
    if pieces == "gaps":
        many_gaps(folder, 4 * number)
        return
    many_artifacts(folder, number)
    edit_manifest(folder, name_all)


def name_all(document: dict[str, Any]) -> None:
    """Let the statement's subjects be what its artifacts are, so that it is understood."""
    rows = document["predicate"]["artifacts"]
    named = [{"name": row["name"], "digest": {"sha256": row["sha256"]}} for row in rows]
    document["subject"] = document["subject"][-1:] + named


def many_gaps(folder: Path, number: int) -> None:
    gap = {"what": "x", "container": "web", "reason": "NotRead", "message": "y" * 80}
    edit_manifest(folder, lambda document: document["predicate"].update(notCaptured=[gap] * number))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pieces", ["artifacts", "gaps"])
@pytest.mark.parametrize("command", ["verify", "fetch"])
def test_a_manifest_at_its_limits_takes_a_bounded_amount_of_memory(
    bundle: Path, tmp_path: Path, command: str, pieces: str
) -> None:
    """Some ten times as much as it has bytes, whoever wrote it."""
    manifest_of(bundle, pieces)
    assert (bundle / "manifest.json").stat().st_size < 16 * 1024 * 1024
    more = [tmp_path / "copy"] if command == "fetch" else []
    code, kilobytes, error = measured(command, bundle, *more)
    assert code in {0, 3} and "Unexpected" not in error, error[-500:]
    assert kilobytes < 400 * MIB
