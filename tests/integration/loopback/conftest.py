"""A loopback cluster for each test, and a plain HTTP client for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from forensics_loopback import LoopbackCluster

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kubernetes"


@pytest.fixture(scope="session")
def definition() -> dict[str, Any]:
    """The cut-down PodCheckpoint that the recordings were made with."""
    found: dict[str, Any] = json.loads((FIXTURES / "crd.json").read_text())
    return found


@pytest.fixture
async def cluster(definition: dict[str, Any]) -> AsyncIterator[LoopbackCluster]:
    """A cluster that serves PodCheckpoints and has the namespace `rec`."""
    async with LoopbackCluster() as cluster:
        cluster.create(definition)
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rec"}})
        yield cluster


@pytest.fixture
async def http(cluster: LoopbackCluster) -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose paths are relative to the cluster."""
    headers = {"User-Agent": "unknown"}
    async with aiohttp.ClientSession(cluster.url, headers=headers) as session:
        yield session
