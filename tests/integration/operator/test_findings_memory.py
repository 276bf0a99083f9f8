"""What the operator's process takes to look at the largest documents that it reads."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import anyio
import pytest

from forensics_core.api.order import ArtifactKind
from forensics_core.readers.findings.small_documents import LIMIT
from lab.images import MiB
from tests.integration.operator.stage import Stage, timed
from tests.integration.operator.test_process import configured, end
from tests.unit.readers.evidence import change, process

PEAK = 180 * MiB
"""Of the 256 MiB that the Deployment allows; the operator has some 120 when it does little."""
ROOM = LIMIT - 4096


def listed(name: str, row: object) -> bytes:
    """Return a document of nearly 2 MiB, as the collector writes it."""
    line = json.dumps(row)
    rows = ",\n".join([line] * (ROOM // (len(line) + 2)))
    return f'{{"{name}":[\n{rows}\n]}}\n'.encode()


HONEST = {
    ArtifactKind.DIFF: listed("changes", change("/opt/app/lib/module.py", mode="0755")),
    ArtifactKind.PROCESSES: listed("processes", process(7, "/bin/app", environ=("A=b",) * 20)),
    ArtifactKind.NETWORK: listed("namespaces", {"sockets": [], "raw": {"packet": ""}}),
}
HOSTILE = {
    ArtifactKind.DIFF: b'{"changes":[\n[' + b"{}," * 58_000 + b"{}]\n]}\n",
    ArtifactKind.PROCESSES: b'{"processes":[\n[' + b"0.5," * 299_000 + b"0]\n]}\n",
    ArtifactKind.INSPECT: b"[" + b'{"a":0},' * 58_000 + b"{}]",
}


@pytest.mark.parametrize("contents", [HONEST, HOSTILE], ids=["honest", "hostile"])
async def test_the_largest_documents_leave_the_operator_small(
    stage: Stage, tmp_path: Path, contents: dict[ArtifactKind, bytes]
) -> None:
    stage.worker.contents = contents
    stage.settings = timed(stage, findings=60)
    names = [f"checkpoint-{number}" for number in range(8)]
    for name in names:
        stage.request(name)
    async with await anyio.open_process(
        configured(stage, tmp_path), env={**os.environ}, stderr=subprocess.STDOUT
    ) as operator:
        statuses = [await stage.finished(name) for name in names]
        status = (Path("/proc") / str(operator.pid) / "status").read_text()
        await end(operator)
    assert {one["phase"] for one in statuses} == {"Complete"}
    assert any("findings" in one for one in statuses)
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak) * 1024 <= PEAK
