"""A cluster that rules are acted on in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.operator.rules.acting import Acting, open_acting


@pytest.fixture
async def acting(tmp_path: Path) -> AsyncIterator[Acting]:
    """A cluster with one pod; no rule is there yet, and nobody acts."""
    async with open_acting(tmp_path) as opened:
        yield opened
