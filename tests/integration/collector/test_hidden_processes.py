"""Processes that somebody hides come home all the same, and it is told that they were hidden."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from collector.local import CaptureOptions, capture_container
from collector.node.members import MemberSearch
from collector.node.procfs import HOST_PROC, pids
from forensics_core.api.order import ArtifactKind
from lab.docker import Engine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.mounting import gap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="who hides processes is root")

WORK = ("/bin/sh", "-c", "sleep 5151 & exec sleep 6161")


@pytest.fixture
def node(docker: Engine, use_env: Callable[[Mapping[str, str]], None]) -> Engine:
    use_env(docker.env)
    return docker


async def worker(engine: Engine, container: str) -> tuple[int, int]:
    """Return the first process of the container, and the other one once it is there."""
    await engine.exec(container, "until ps | grep -q '[s]leep 5151'; do sleep 0.1; done")
    first = await engine.pid(container)

    def child() -> int:
        return int(Path(f"/proc/{first}/task/{first}/children").read_text().split()[0])

    return first, await to_thread.run_sync(child)


async def rows_of(bundle: Bundle, container: str) -> dict[int, dict[str, Any]]:
    named = CaptureOptions(name=bundle.folder.name, subpath="", artifacts=[ArtifactKind.PROCESSES])
    await capture_container(f"docker://{container}", to=str(bundle.folder.parent), options=named)
    folder = bundle.folder / "containers" / bundle.capture.containers[0].name
    text = await to_thread.run_sync((folder / "processes.json").read_bytes)
    return {row["pid"]: row for row in json.loads(text)["processes"]}


async def test_a_mount_over_a_process_in_the_container_is_told(
    node: Engine, image: str, bundle: Bundle
) -> None:
    """As attackers do: ps in the container shows nothing of the process any more."""
    async with node.container(image, WORK, capabilities=["SYS_ADMIN"]) as container:
        _, hidden = await worker(node, container)
        script = "inner=$(pidof sleep | tr ' ' '\\n' | grep -vx 1); mkdir /tmp/none; "
        await node.exec(container, script + "mount --bind /tmp/none /proc/$inner; echo $inner")
        shown = await node.exec(container, "ps")
        rows = await rows_of(bundle, container)
    inner = rows[hidden]["nspid"][-1]
    assert "5151" not in shown
    assert rows[hidden]["cmdline"] == ["sleep", "5151"]
    assert rows[hidden]["hiddenBy"] == ["mount in the container"]
    found = gap(bundle, f"mount over /proc/{inner}")
    assert (found.reason, found.pid, found.requested) == ("Hidden", hidden, False)
    assert f"{hidden} on the node" in found.message


@contextmanager
def node_proc(folder: Path) -> Iterator[Path]:
    """The node's /proc as a Job has it: mounted elsewhere, with what is mounted in it."""
    folder.mkdir()
    subprocess.run(["mount", "--rbind", "/proc", folder], check=True)
    subprocess.run(["mount", "--make-rprivate", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-R", "-l", folder], check=True)


def mount_over(place: Path, source: Path) -> None:
    subprocess.run(["mount", "--bind", source, place], check=True)


@pytest.mark.parametrize("cover", ["an empty folder", "another process"])
async def test_a_mount_over_a_process_on_the_node_hides_nothing(
    node: Engine,
    image: str,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cover: str,
) -> None:
    async with node.container(image, WORK) as container:
        _, hidden = await worker(node, container)
        with node_proc(tmp_path / "proc") as proc:
            source = tmp_path / "none" if cover == "an empty folder" else proc / "1"
            source.mkdir(exist_ok=True)
            mount_over(proc / str(hidden), source)
            monkeypatch.setenv(HOST_PROC, str(proc))
            rows = await rows_of(bundle, container)
            monkeypatch.delenv(HOST_PROC)
    assert rows[hidden]["cmdline"] == ["sleep", "5151"]
    assert rows[hidden]["hiddenBy"] == ["mount on the node"]
    assert gap(bundle, f"covered process {hidden}").reason == "Hidden"


async def test_a_process_that_a_listing_leaves_out_is_found_by_all_other_ways(
    node: Engine, image: str
) -> None:
    async with node.container(image, WORK) as container:
        first, hidden = await worker(node, container)
        search = MemberSearch(
            first, container, listing=lambda: [pid for pid in pids() if pid != hidden], seconds=60
        )
        await to_thread.run_sync(search.look)
    assert search.hidden == [hidden] and search.untried == 0
    assert search.found[hidden] == {"children", "cgroup", "number"}
    assert search.found[first] >= {"listing", "cgroup"}
