"""`forensics-operator`, as it is started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import anyio
import pytest
from anyio.abc import Process

from tests.integration.operator.stage import Document, Stage

OPERATOR = str(Path(sys.executable).with_name("forensics-operator"))


def configured(stage: Stage, folder: Path) -> list[str]:
    """Return the command line of an operator on the stage's cluster."""
    settings = folder / "settings.yaml"
    settings.write_text(stage.settings.model_dump_json(by_alias=True, exclude_none=True))
    options = ["--config", str(settings), "--port-file", str(folder / "port")]
    return [OPERATOR, "--kubeconfig", str(stage.kubeconfig), *options]


async def metrics_of(folder: Path) -> str:
    port = (folder / "port").read_text()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        return await answer.text()


def lease(stage: Stage) -> Document:
    found = stage.cluster.get(
        "leases.coordination.k8s.io", "forensics-operator", "forensics-operator"
    )
    spec: Document = found["spec"]
    return spec


async def end(process: Process) -> bytes:
    """Ask it to end; return what it printed."""
    process.send_signal(signal.SIGTERM)
    assert process.stdout
    printed = b"".join([block async for block in process.stdout])
    await process.wait()
    return printed


async def test_it_works_and_ends_when_told(stage: Stage, tmp_path: Path) -> None:
    stage.request()
    async with await anyio.open_process(
        configured(stage, tmp_path), env={**os.environ}, stderr=subprocess.STDOUT
    ) as process:
        with anyio.fail_after(50):
            status = await stage.finished(within=45)
            found = await metrics_of(tmp_path)
            assert lease(stage)["holderIdentity"]
            printed = await end(process)
    assert status["phase"] == "Complete"
    assert 'forensics_checkpoints{phase="Complete"} 1.0' in found
    assert 'leader_election_master_status{name="podcheckpoint"} 1.0' in found
    assert 'forensics_checkpoints_finished_total{phase="Complete",reason="Complete"} 1.0' in found
    assert process.returncode == 0
    assert not lease(stage)["holderIdentity"], "the next replica need not wait"
    lines = [json.loads(line) for line in printed.splitlines()]
    assert {"forensics-system/checkpoint-1"} <= {line.get("checkpoint") for line in lines}


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ("workers: 0", "workers: Input should be greater than or equal to 1"),
        ("colour: red", "colour: Extra inputs are not permitted"),
        ("collector: none", "collector: Input should be"),
        ("- a\n- b", "holds no settings"),
        ("{", "cannot be read"),
        (b"\xff", "cannot be read"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(
    tmp_path: Path, settings: str | bytes, error: str
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(settings if isinstance(settings, bytes) else settings.encode())
    done = run("--config", str(path), FORENSICS_COLLECTOR_IMAGE="x")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert error in done.stderr
    assert "Traceback" not in done.stderr


def test_a_level_that_is_none_is_a_usage_error() -> None:
    done = run("--log-level", "loud")
    assert done.returncode == 2
    assert "'loud' is not one of" in done.stderr


def run(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OPERATOR, *options],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
