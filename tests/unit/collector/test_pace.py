"""A rate is kept by all readers together."""

from __future__ import annotations

import anyio
import pytest

from collector.pace import RateLimit


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moments that are waited for, in place of waiting, on a clock that stands at 1000."""
    moments: list[float] = []

    async def sleep_until(moment: float) -> None:
        moments.append(moment)

    monkeypatch.setattr(anyio, "sleep_until", sleep_until)
    monkeypatch.setattr(anyio, "current_time", lambda: 1000.0)
    return moments


async def test_what_was_read_is_paid_for_before_more_is_read(waited: list[float]) -> None:
    rate_limit = RateLimit(100)
    await rate_limit.turn()
    for size in (50, 200):
        rate_limit.spent(size)
        await rate_limit.turn()
    assert waited == [0, 1000.5, 1002.5]


async def test_nothing_is_saved_up(waited: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour without reading does not allow for an hour's worth at once."""
    rate_limit = RateLimit(100)
    rate_limit.spent(100)
    monkeypatch.setattr(anyio, "current_time", lambda: 4600.0)
    rate_limit.spent(100)
    await rate_limit.turn()
    assert waited == [4601]


async def test_without_a_rate_nobody_waits(waited: list[float]) -> None:
    rate_limit = RateLimit()
    rate_limit.spent(1 << 40)
    await rate_limit.turn()
    assert waited == [0]
