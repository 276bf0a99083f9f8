"""Numbers for people."""

from __future__ import annotations

import pytest

from forensics_core.units import human_size


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
