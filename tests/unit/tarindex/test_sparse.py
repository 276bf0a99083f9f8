"""Sparse files: GNU tar's own maps, and the SHA-256 of what somebody would read."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.tarindex.headers import BLOCK, NotTar, padded
from forensics_core.tarindex.sparse import MAX_HOLES, MAX_PIECES, SparseContent, SparseMap
from tests.unit.tarindex.archives import index, member, tar

MIB = 1024 * 1024


def archive(folder: Path) -> bytes:
    command = ["tar", "-C", str(folder), "--format=posix", "--sparse", "-cf", "-", "."]
    return subprocess.run(command, check=True, capture_output=True).stdout


def sparse_row(folder: Path, step: int) -> tuple[dict[str, Any], bytes]:
    data = archive(folder)
    (row,) = (row for row in index(data, step) if row["path"] == "/sparse")
    return row, data


@pytest.mark.parametrize("step", [100, 4096, 4 * MIB])
def test_a_sparse_file_of_gnu_tar(tmp_path: Path, step: int) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for place in range(0, 8 * MIB, 512 * 1024):
            file.seek(place)
            file.write(b"data" * 100)
        file.truncate(9 * MIB)
    row, data = sparse_row(tmp_path, step)
    content = (tmp_path / "sparse").read_bytes()
    assert row["sparse"] is True and row["size"] == 9 * MIB and row["stored"] < MIB
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    stored = data[row["data"] : row["data"] + row["stored"]]
    assert row["storedSha256"] == hashlib.sha256(stored).hexdigest()


@pytest.mark.parametrize("size", [MIB, MAX_HOLES + MIB])
def test_a_file_that_is_one_hole(tmp_path: Path, size: int) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(size)
    row, _ = sparse_row(tmp_path, 4096)
    assert row["size"] == size and row["storedSha256"]
    assert ("sha256" in row) == (size <= MAX_HOLES)


def test_terabytes_of_nothing_take_no_time(tmp_path: Path) -> None:
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**40)
    row, _ = sparse_row(tmp_path, 4096)
    assert row["size"] == 2**40 and "sha256" not in row


def test_the_holes_of_all_files_together_are_limited(tmp_path: Path) -> None:
    size = MAX_HOLES // 4
    for number in range(5):
        (tmp_path / f"{number}").touch()
        os.truncate(tmp_path / f"{number}", size)
    rows = [row for row in index(archive(tmp_path)) if row["type"] == "file"]
    assert len(rows) == 5 and all(row["size"] == size for row in rows)
    assert sum("sha256" in row for row in rows) == 4


HEADERS = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000"}


def sparse_member(name: str, lines: list[int], data: bytes) -> bytes:
    """Return a member of GNU's format 1.0 whose map is `lines`."""
    text = b"".join(b"%d\n" % line for line in lines)
    headers = HEADERS | {"GNU.sparse.name": name}
    stored = text + bytes(-len(text) % BLOCK) + data
    info = member("./GNUSparseFile.0/x", pax_headers=headers)
    return tar([(info, stored)])[: 3 * BLOCK + padded(len(stored))]


@pytest.mark.parametrize(
    "lines",
    [
        [MAX_PIECES + 1, 0, 10],
        [1, 995, 10],
        [2, 10, 5, 5, 5],
    ],
)
def test_a_map_that_cannot_be_used_costs_nobody_else_his_row(lines: list[int]) -> None:
    data = sparse_member("./odd", lines, b"0123456789")
    odd, after = index(data + tar([(member("./after"), b"x")]))
    stored = data[odd["data"] : odd["data"] + odd["stored"]]
    assert odd["path"] == "/odd" and "sha256" not in odd
    assert odd["storedSha256"] == hashlib.sha256(stored).hexdigest()
    assert after["path"] == "/after"


def test_a_map_that_is_longer_than_its_file_ends_the_index() -> None:
    lines = [60, *range(1_000, 1_119)]
    whole = sparse_member("./odd", lines, b"")
    short = member("./x", pax_headers={**HEADERS, "GNU.sparse.name": "./odd", "size": "512"})
    header = tar([(short, b"")])[: 3 * BLOCK]
    with pytest.raises(NotTar, match="longer than the file"):
        index(header + whole[3 * BLOCK :])


def feed(text: bytes, size: int) -> SparseMap:
    places = SparseMap(size)
    padded = text + bytes(-len(text) % BLOCK)
    done = [places.feed(padded[at : at + BLOCK]) for at in range(0, len(padded), BLOCK)]
    assert done[-1] and not any(done[:-1])
    return places


def test_a_map_of_many_blocks() -> None:
    pieces = [(number * 100_000, 512) for number in range(300)]
    lines = [300, *(part for piece in pieces for part in piece)]
    places = feed(b"".join(b"%d\n" % line for line in lines), 30_000_000)
    places.check(300 * 512)
    assert list(places.pieces()) == pieces
    assert places.length == places.blocks * BLOCK


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"x\n", "damaged"),
        (b"-1\n", "damaged"),
        (b"1" * 100, "damaged"),
        (b"1\n9223372036854775808\n", "damaged"),
        (b"9999999\n", "too long"),
    ],
)
def test_maps_that_are_none(text: bytes, why: str) -> None:
    with pytest.raises(NotTar, match=why):
        SparseMap(100).feed(text.ljust(BLOCK, b"1"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"2\n10\n5\n5\n5\n", "goes back"),
        (b"1\n90\n20\n", "does not fit"),
        (b"1\n0\n5\n", "does not fit"),
    ],
)
def test_maps_that_contradict_the_file(text: bytes, why: str) -> None:
    with pytest.raises(NotTar, match=why):
        feed(text, 100).check(20 if b"90" in text else 10)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.binary(max_size=20)), max_size=6),
    st.integers(0, 30),
    st.integers(1, 30),
)
def test_content_is_data_and_zeros(parts: list[tuple[int, bytes]], rest: int, step: int) -> None:
    content, data, pieces = b"", b"", []
    for hole, piece in parts:
        content += bytes(hole)
        pieces.append((len(content), len(piece)))
        content += piece
        data += piece
    content += bytes(rest)
    digest = SparseContent(pieces, len(content))
    for start in range(0, len(data), step):
        digest.update(memoryview(data)[start : start + step])
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()
