"""The setup that every test of the bot plays on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.slackbot.setup import SlackSetup, open_scene


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[SlackSetup]:
    """A workspace and a cluster; no bot runs yet."""
    async with open_scene(tmp_path) as opened:
        yield opened
