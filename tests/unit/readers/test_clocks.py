"""Clocks that disagree are told of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forensics_core.bundle.manifest import Clocks
from forensics_core.readers.clocks import correction, disagreement, skew

NOW = datetime(2026, 8, 1, 10, 11, 12, tzinfo=UTC)


def clocks(*ahead: float | None) -> list[Clocks]:
    return [
        Clocks(node=NOW, destination=None if each is None else NOW - timedelta(seconds=each))
        for each in ahead
    ]


@pytest.mark.parametrize(("ahead", "told"), [(90.0, "90 s ahead of"), (-3600.0, "3,600 s behind")])
def test_clocks_that_disagree_are_told_of(ahead: float, told: str) -> None:
    found = clocks(None, ahead, ahead + 1, ahead - 1)
    assert told in disagreement(found) and correction(found) == ahead * 10**9


@pytest.mark.parametrize("ahead", [(), (None,), (0.4, 1.2), (-1.9,)])
def test_clocks_that_agree_or_are_not_known_are_not(ahead: tuple[float | None, ...]) -> None:
    assert disagreement(clocks(*ahead)) == "" and correction(clocks(*ahead)) == 0
    assert (skew(clocks(*ahead)) is None) == (not any(each is not None for each in ahead))
