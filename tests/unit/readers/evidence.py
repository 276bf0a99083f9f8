"""A bundle with an intruder's traces, as the collector writes it, without a container."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import anyio

from collector.artifacts import filesystem
from collector.artifacts import mounts as mount_archive
from collector.container import ContainerCapture
from collector.documents import streamed
from collector.files.mountarchive import OpenMount
from collector.files.mountstream import MountStream
from collector.runtimes.runtime import Runtime
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.ends import LITTLE_TABLE
from forensics_core.bundle.manifest import NotCaptured
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import capture, listing
from tests.integration.collector.folder_container import CONTAINER, FolderRuntime

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
    tree: Path | None = None,
    mounted: Path | None = None,
) -> Path:
    """Write it; with the files of `tree`, and those of `mounted` at `/mnt`."""
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
            spec = ArtifactSpec(MOUNTS, ArtifactKind.FILESYSTEM, "web")
            await bundle.add(spec, one(data), little=LITTLE_TABLE)
        if tree or mounted:
            await _files(bundle, tree, mounted)
        bundle.record_gap(
            NotCaptured(
                what="mount /dev/shm", container="web", reason="NotRead", message="<b>\x1b[2J",
                requested=False,
            )
        )  # fmt: skip
        await bundle.finish(capture())
    return folder


async def _files(bundle: BundleWriter, tree: Path | None, mounted: Path | None) -> None:
    runtime = cast(Runtime, FolderRuntime(tree or Path()))
    deadline = anyio.current_time() + 3600
    capture = ContainerCapture("web", CONTAINER, runtime, bundle, Compression.ZSTD, deadline)
    if mounted:
        place = os.open(mounted, os.O_PATH)
        await mount_archive.store(capture, MountStream(), [OpenMount(b"/mnt", place)])
        os.close(place)
    if tree:
        await filesystem.collect(capture)


async def _lines(found: list[dict[str, Any]]) -> AsyncIterator[list[str]]:
    yield [json.dumps(row) for row in found]
