"""The script in the README works as it stands there, and is the one among the examples."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from forensics_core.errors import CheckpointFailed
from forensics_loopback import ContainerExit, RunningPod
from tests.integration.operator.stage import Stage

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
EXAMPLE = ROOT / "examples" / "05_capture_pod.py"


def script() -> dict[str, Any]:
    """Return what the README's Python block defines."""
    _, _, after = README.read_text().partition("```python\n")
    namespace: dict[str, Any] = {"__name__": "readme"}
    exec(compile(after.partition("```")[0], str(README), "exec"), namespace)  # noqa: S102
    return namespace


async def test_the_script_in_the_readme_captures_a_pod_and_verifies_it(
    stage: Stage,
    use_env: Callable[[Mapping[str, str]], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_env({"KUBECONFIG": str(stage.kubeconfig)})
    key = tmp_path / "forensics.pub"
    key.write_bytes(stage.public_key)
    async with stage.operating():
        await script()["capture"]("web-0", "default", f"s3://{stage.bucket}", key)
    assert f"s3://{stage.bucket}/forensics/" in capsys.readouterr().out


async def test_the_example_does_the_same(stage: Stage, tmp_path: Path) -> None:
    key = tmp_path / "forensics.pub"
    key.write_bytes(stage.public_key)
    arguments = ["web-0", "default", f"s3://{stage.bucket}", str(key)]
    async with stage.operating():
        done = await anyio.run_process(
            [sys.executable, str(EXAMPLE), *arguments],
            env={**os.environ, "KUBECONFIG": str(stage.kubeconfig)},
        )
    assert f"s3://{stage.bucket}/forensics/" in done.stdout.decode()


async def test_it_says_so_when_the_capture_failed(
    stage: Stage, use_env: Callable[[Mapping[str, str]], None], tmp_path: Path
) -> None:
    use_env({"KUBECONFIG": str(stage.kubeconfig)})
    async with stage.operating():
        with pytest.raises(CheckpointFailed, match="failed") as raised:
            await script()["capture"]("gone", "default", f"s3://{stage.bucket}", tmp_path / "key")
    assert raised.value.reason == "NotFound"


async def test_the_example_ends_with_the_reason_and_names_no_location(
    stage: Stage, tmp_path: Path
) -> None:
    """Its pod goes while it is captured: by then the attempt has a location."""

    async def fail(pod: RunningPod) -> ContainerExit | None:
        return ContainerExit(exit_code=1)

    stage.worker.before = fail
    key = tmp_path / "forensics.pub"
    key.write_bytes(stage.public_key)
    arguments = ["web-0", "default", f"s3://{stage.bucket}", str(key)]
    async with stage.operating():
        done = await anyio.run_process(
            [sys.executable, str(EXAMPLE), *arguments],
            env={**os.environ, "KUBECONFIG": str(stage.kubeconfig)},
            check=False,
        )
    (made,) = stage.cluster.list("podcheckpoints", "forensics-system")
    assert made["status"]["location"].startswith("s3://")
    assert done.returncode == 1
    assert made["status"]["location"] not in done.stdout.decode() + done.stderr.decode()
    assert "failed" in done.stderr.decode()
