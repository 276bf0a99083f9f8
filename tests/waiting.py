"""Waiting that no event can spare, in one place, so that it stays rare."""

from __future__ import annotations

import anyio


async def time_passes(seconds: float) -> None:
    """Let time pass in which something must not happen, or is away: there is nothing to wait for.

    Never used to give something the time to happen: that is waited for, until a deadline.
    """
    await anyio.sleep(seconds)
