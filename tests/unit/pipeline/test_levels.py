"""The level of compression follows how full the room is in which blocks wait for the network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forensics_core.pipeline.levels import FIRST, LEVELS, SETTLING, LevelControl


def after(control: LevelControl, changes: int) -> int:
    for _ in range(changes * SETTLING):
        control.passed()
    return control.level


def test_the_first_blocks_are_compressed_at_the_first_level() -> None:
    control = LevelControl(lambda: 1.0)
    assert control.level == FIRST
    for _ in range(SETTLING - 1):
        control.passed()
    assert control.level == FIRST
    control.passed()
    assert control.level > FIRST


def test_while_the_network_is_slower_the_level_rises_to_the_highest() -> None:
    assert after(LevelControl(lambda: 0.9), len(LEVELS)) == LEVELS[-1]


def test_while_the_processor_is_slower_the_level_falls_to_the_fastest() -> None:
    assert after(LevelControl(lambda: 0.0), len(LEVELS)) == LEVELS[0]


def test_while_both_take_equally_long_the_level_stays() -> None:
    assert after(LevelControl(lambda: 0.4), len(LEVELS)) == FIRST


@pytest.mark.parametrize("levels", [LEVELS, (3, 6)])
def test_without_a_network_the_level_stays_where_it_began(levels: tuple[int, ...]) -> None:
    control = LevelControl(levels=levels)
    first = control.level
    assert after(control, 10) == first


def test_it_settles_where_the_room_is_neither_full_nor_empty() -> None:
    """A link on which level 3 keeps up: below the room fills, above it empties."""
    control = LevelControl(lambda: 0.5 + 0.3 * ((control.level < 3) - (control.level > 3)))
    assert {after(control, changes) for changes in (10, 1, 1, 1)} == {3}


def test_it_comes_back_when_the_network_does() -> None:
    fullness: Iterator[float] = iter([0.9] * 3 + [0.1] * 4)
    control = LevelControl(lambda: next(fullness))
    assert after(control, 3) > FIRST
    assert after(control, 4) < FIRST
