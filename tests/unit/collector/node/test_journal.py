"""Journals that systemd's own daemon wrote, read without it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from collector.node import journal
from collector.node.journal import DamagedJournal, find_entries

FIXTURES = Path(__file__).parents[3] / "fixtures" / "journal"
POD = [b"shop/web-0"]
Opened = Callable[[bytes], int]


def packed(name: str) -> bytes:
    data = (FIXTURES / f"{name}.journal.zst").read_bytes()
    return zstandard.ZstdDecompressor().decompress(data)


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    def make(data: bytes) -> int:
        (tmp_path / "system.journal").write_bytes(data)
        return os.open(tmp_path / "system.journal", os.O_RDONLY)

    return make


@pytest.mark.parametrize("form", ["compact", "plain"])
def test_lines_about_a_pod_the_oldest_first(opened: Opened, form: str) -> None:
    found = find_entries(opened(packed(form)), POD)
    first, second = found["lines"]
    assert first["MESSAGE"] == "StartContainer for shop/web-0 " + "x" * 3000
    assert (first["SYSLOG_IDENTIFIER"], second["SYSLOG_IDENTIFIER"]) == ("kubelet", "containerd")
    assert second["MESSAGE"] == "last of shop/web-0" and first["time"] < second["time"]
    assert found["entries"] == found["looked"] == 304 and found["since"] < first["time"]
    assert not found["cut"] and not found["unread"]


def test_the_newest_entries_only(opened: Opened) -> None:
    found = find_entries(opened(packed("compact")), POD, last=10)
    assert [row["MESSAGE"] for row in found["lines"]] == ["last of shop/web-0"]
    assert found["looked"] == 10 and found["cut"]


def test_a_limit_of_lines(opened: Opened) -> None:
    found = find_entries(opened(packed("plain")), [b"line "], most=2000)
    told = [row["MESSAGE"] for row in found["lines"]]
    assert told[-1] == "line 299" and 1 < len(told) < 50 and found["cut"]


def test_what_is_no_journal(opened: Opened) -> None:
    for data in (b"", b"LPKSHHRH", bytes(4096)):
        with pytest.raises(DamagedJournal, match="not a journal"):
            find_entries(opened(data), POD)


@given(st.integers(208, 200_000), st.binary(min_size=1, max_size=64))
def test_a_journal_with_any_damage_costs_entries_only(place: int, noise: bytes) -> None:
    data = bytearray(packed("plain"))
    data[place : place + len(noise)] = noise
    file = os.memfd_create("journal")
    try:
        os.write(file, data)
        assert find_entries(file, POD)["looked"] <= 304
    finally:
        os.close(file)


@given(st.binary(min_size=208, max_size=1000))
def test_any_bytes_behind_a_journals_beginning(data: bytes) -> None:
    file = os.memfd_create("journal")
    try:
        os.write(file, b"LPKSHHRH" + data)
        find_entries(file, POD)
    finally:
        os.close(file)


def header(incompatible: int = 0, entries: int = 0, arrays: int = 0) -> bytearray:
    data = bytearray(256)
    data[:8] = b"LPKSHHRH"
    struct.pack_into("<I", data, 12, incompatible)
    struct.pack_into("<Q", data, 152, entries)
    struct.pack_into("<Q", data, 176, arrays)
    return data


def test_arrays_that_lead_in_a_circle(opened: Opened) -> None:
    loop = struct.pack("<BB6xQQQ", 6, 0, 32, 256, 0)
    found = find_entries(opened(bytes(header(0, 5, 256)) + loop), POD)
    assert found["looked"] == 0 and found["since"] is None


def test_fields_of_every_compression() -> None:
    import lzma

    assert journal._unpacked(b"MESSAGE=x", 0) == b"MESSAGE=x"
    assert journal._unpacked(lzma.compress(b"MESSAGE=x"), 1) == b"MESSAGE=x"
    assert journal._unpacked(zstandard.compress(b"MESSAGE=x"), 4) == b"MESSAGE=x"
    assert journal._unpacked(b"nonsense", 1) == journal._unpacked(b"nonsense", 4) == b""
    assert journal._unpacked(b"anything", 2) == b""


def test_an_entry_of_no_time_is_left_out(opened: Opened) -> None:
    array = struct.pack("<BB6xQQQ", 6, 0, 32, 0, 288)
    entry = struct.pack("<BB6xQQQ", 3, 0, 64, 1, 2**63).ljust(64, b"\0")
    found = find_entries(opened(bytes(header(0, 1, 256)) + array + entry), POD)
    assert (found["entries"], found["looked"]) == (1, 0)


def field(flags: int, data: bytes) -> bytes:
    whole = struct.pack("<BB6xQ", 1, flags, 64 + len(data)).ljust(64, b"\0") + data
    return whole.ljust(-(-len(whole) // 8) * 8, b"\0")


def test_a_field_that_is_given_twice_and_one_that_cannot_be_unpacked(opened: Opened) -> None:
    fields = field(0, b"MESSAGE=of shop/web-0"), field(0, b"MESSAGE=of others"), field(2, b"lz4")
    array = struct.pack("<BB6xQQQ", 6, 0, 32, 0, 288)
    begin = 288 + 64 + 16 * len(fields)
    places = [begin + sum(map(len, fields[:number])) for number in range(len(fields))]
    items = b"".join(struct.pack("<QQ", place, 0) for place in places)
    entry = struct.pack("<BB6xQQQ", 3, 0, 64 + len(items), 1, 10**15).ljust(64, b"\0") + items
    found = find_entries(opened(bytes(header(0, 1, 256)) + array + entry + b"".join(fields)), POD)
    (line,) = found["lines"]
    assert line["MESSAGE"] == "of shop/web-0\nof others" and found["unread"] == 1
