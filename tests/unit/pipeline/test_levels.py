"""The level of compression follows how full the room is in which blocks wait for the network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forensics_core.pipeline.levels import FIRST, LEVELS, SETTLING, UNKNOWN, LevelControl


def after(control: LevelControl, changes: int) -> int:
    for _ in range(changes * SETTLING):
        control.passed()
    return control.level


def test_the_first_blocks_are_compressed_at_one_level() -> None:
    control = LevelControl(lambda: 1.0)
    assert control.level == UNKNOWN
    for _ in range(SETTLING - 1):
        control.passed()
    assert control.level == UNKNOWN
    control.passed()
    assert control.level > UNKNOWN


def test_while_nothing_is_known_of_the_network_the_level_waits() -> None:
    told: list[float | None] = [None, None, 0.0]
    control = LevelControl(lambda: told.pop(0))
    assert after(control, 2) == UNKNOWN
    assert after(control, 1) < UNKNOWN


def test_while_the_network_is_slower_the_level_rises_to_the_highest() -> None:
    assert after(LevelControl(lambda: 0.9), len(LEVELS)) == LEVELS[-1]


def test_while_the_processor_is_slower_the_level_falls_to_the_fastest() -> None:
    assert after(LevelControl(lambda: 0.0), len(LEVELS)) == LEVELS[0]


def test_while_both_take_equally_long_the_level_stays() -> None:
    assert after(LevelControl(lambda: 0.4), len(LEVELS)) == UNKNOWN


@pytest.mark.parametrize("levels", [LEVELS, (3, 6)])
def test_without_a_network_the_level_stays_where_it_began(levels: tuple[int, ...]) -> None:
    control = LevelControl(levels=levels)
    first = control.level
    assert first == (FIRST if FIRST in levels else levels[0])
    assert after(control, 10) == first


def test_it_settles_where_the_room_is_neither_full_nor_empty() -> None:
    """A link on which level 3 keeps up: below the room fills, above it empties."""
    control = LevelControl(lambda: 0.5 + 0.3 * ((control.level < 3) - (control.level > 3)))
    assert {after(control, changes) for changes in (10, 1, 1, 1)} == {3}


def test_it_comes_back_when_the_network_does() -> None:
    fullness: Iterator[float] = iter([0.9] * 3 + [0.1] * 6)
    control = LevelControl(lambda: next(fullness))
    assert after(control, 3) > UNKNOWN
    assert after(control, 6) < FIRST
