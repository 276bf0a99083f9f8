"""A bundle with an intruder's traces, as the collector writes it, without a container."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from collector.documents import streamed
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import NotCaptured
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import capture, listing

WEB = "containers/web/"
DIFF, PROCESSES = WEB + "diff.json", WEB + "processes.json"
NETWORK, INSPECT = WEB + "network.json", WEB + "inspect.json"
LAYERS, MOUNTS = WEB + "layers.json", WEB + "mounts.json"


def change(path: str, kind: str = "A", **facts: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "path": path,
        "type": "file",
        "mode": "0644",
        "size": 5,
        "mtime": "2026-08-01T10:00:00.000000000Z",
        "notes": [],
        **facts,
    }


def process(pid: int, exe: str, *command: str, environ: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "pid": pid,
        "ppid": pid - 1,
        "comm": exe.rpartition("/")[2][:15],
        "exe": exe,
        "cmdline": list(command) or [exe],
        "environ": list(environ),
        "startTime": "2026-08-01T10:00:00+00:00",
    }


def socket(state: str, local: tuple[str, int], remote: tuple[str, int], pid: int) -> dict[str, Any]:
    ends = {
        name: {"address": address, "port": port}
        for name, (address, port) in (("local", local), ("remote", remote))
    }
    return {"protocol": "tcp", "state": state, "pids": [pid], **ends}


async def write_evidence(
    folder: Path,
    changes: list[dict[str, Any]],
    processes: list[dict[str, Any]] | None = None,
    sockets: list[dict[str, Any]] | None = None,
    *,
    inspect: dict[str, Any] | None = None,
    packet: str = "",
    host: bool = False,
    layers: list[dict[str, Any]] | None = None,
    mounts: list[dict[str, Any]] | None = None,
) -> Path:
    space = {"host": host, "sockets": sockets or [], "raw": {"packet": packet}}
    async with open_destination(str(folder)) as destination:
        bundle = BundleWriter(destination)
        if layers is not None:  # first, so that none takes it for the changes
            spec = ArtifactSpec(LAYERS, ArtifactKind.DIFF, "web")
            await bundle.add(spec, streamed({"image": "x"}, "layers", _lines(layers)))
        spec = ArtifactSpec(DIFF, ArtifactKind.DIFF, "web")
        await bundle.add(spec, streamed({"method": "x"}, "changes", _lines(changes)))
        spec = ArtifactSpec(PROCESSES, ArtifactKind.PROCESSES, "web")
        await bundle.add(spec, streamed({"method": "x"}, "processes", _lines(processes or [])))
        data = listing({"method": "proc", "namespaces": [space]}, "namespaces")
        await bundle.add(ArtifactSpec(NETWORK, ArtifactKind.NETWORK, "web"), one(data))
        data = json.dumps(inspect or {}).encode()
        await bundle.add(ArtifactSpec(INSPECT, ArtifactKind.INSPECT, "web"), one(data))
        if mounts is not None:
            data = json.dumps({"mounts": mounts}).encode()
            await bundle.add(ArtifactSpec(MOUNTS, ArtifactKind.FILESYSTEM, "web"), one(data))
        bundle.record_gap(
            NotCaptured(
                what="mount /dev/shm", container="web", reason="NotRead", message="<b>\x1b[2J",
                requested=False,
            )
        )  # fmt: skip
        await bundle.finish(capture())
    return folder


async def _lines(found: list[dict[str, Any]]) -> AsyncIterator[list[str]]:
    yield [json.dumps(row) for row in found]
