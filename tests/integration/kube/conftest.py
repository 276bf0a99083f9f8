"""A scripted API server, and a connection to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forensics_core.kube.connection import ClusterConnection, connect
from tests.integration.kube.scripted import ScriptedApi, scripted_api


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    async with scripted_api() as server:
        yield server


@pytest.fixture
async def cluster(api: ScriptedApi, tmp_path: Path) -> AsyncIterator[ClusterConnection]:
    async with connect(api.kubeconfig(tmp_path / "config", {"token": "secret"})) as connection:
        yield connection
