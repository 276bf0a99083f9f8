"""From an alert to a sealed bundle that holds it, by the operator as it is installed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import anyio
import pytest

from forensics_core.api.capturerule_crd import capturerule_crd
from forensics_core.operator.settings import AlertSettings
from forensics_core.storage.storage import open_storage, read_small
from tests.integration.operator.stage import NAMESPACE, Document, Stage
from tests.unit.operator.alerts.messages import falcosidekick

TOKEN = "0123456789abcdef0123"  # noqa: S105
KIND = capturerule_crd()
HOSTILE = "\x1b[31mred\u202e"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the operator's volume holds: a token."""
    (tmp_path / "token").write_text(TOKEN)
    return tmp_path


def rule(**spec: object) -> Document:
    return {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "CaptureRule",
        "metadata": {"name": "falco", "namespace": NAMESPACE},
        "spec": {"namespaces": ["default"], "events": ["Alert"], **spec},
    }


async def test_an_alert_ends_as_a_bundle_that_holds_it_and_a_manifest_that_says_so(
    folder: Path, stage: Stage
) -> None:
    stage.cluster.create(KIND)
    stage.cluster.create(rule(template={"artifacts": ["context", "logs"], "incident": "INC-7"}))
    alerts = AlertSettings(folder=folder, port=0, address="127.0.0.1")
    async with stage.operating(stage.settings.model_copy(update={"alerts": alerts})):
        await send(stage)
        with anyio.fail_after(60):
            found = await stage.cluster.until("podcheckpoints", lambda items: items, NAMESPACE)
        (checkpoint,) = list(found)
        name = checkpoint["metadata"]["name"]
        status = await stage.finished(name)
    assert status["phase"] == "Complete"
    assert status["sealed"] is True
    async with open_storage(status["location"], access=stage.access) as bundle:
        alert = json.loads(await read_small(bundle, "context/alert.json", limit=2**20))
        manifest = await read_small(bundle, "manifest.json", limit=2**20)
    assert alert["rule"] == "Terminal shell in container"
    assert alert["fields"]["proc.cmdline"] == r"\x1b[31mred\u202e"
    assert b"context/alert.json" in manifest
    assert b"Alert: Terminal shell in container (Notice) (rule falco)" in manifest
    assert b"INC-7" in manifest


async def send(stage: Stage) -> None:
    """Send an alert until it is taken: a leader that begins refuses it for a moment."""
    with anyio.fail_after(60):
        (item,) = await stage.cluster.until(
            "endpointslices", lambda items: items, "forensics-operator"
        )
    url = f"https://127.0.0.1:{item['ports'][0]['port']}/alerts/falco"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        with anyio.fail_after(60):
            while True:
                moment = datetime.now(UTC).isoformat()
                said = falcosidekick(time=moment, fields={"proc.cmdline": HOSTILE})
                async with session.post(url, json=said) as answer:
                    if (await answer.json())["outcome"] == "Taken" and ruled(stage):
                        return
                await anyio.sleep(0.05)


def ruled(stage: Stage) -> bool:
    """Return whether the operator has acted on the alert, or on another of before."""
    return bool(stage.cluster.list("podcheckpoints", NAMESPACE))
