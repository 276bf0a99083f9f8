"""Numbers for people."""

from __future__ import annotations

import pytest

from forensics_core._internal.units import human_size, parse_size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 * 2**30, "3.0 GiB"),
        (2**52, "4.0 PiB"),
    ],
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert human_size(count) == text


def test_more_digits_where_there_is_room() -> None:
    assert human_size(1_879_048_192, digits=2) == "1.75 GiB"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1048576", 2**20),
        ("100MiB", 100 * 2**20),
        ("100MiB/s", 100 * 2**20),
        (" 1 mi ", 2**20),
        ("2K", 2048),
        ("1.5 GB", 1_500_000_000),
        ("7B", 7),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e9", "1 MiBs", "\u0661", "1MiB/h", "nan"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid size"):
        parse_size(text)
