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
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.mounting import FORENSICS, gap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="who hides processes is root")

WORK = ("/bin/sh", "-c", "sleep 5151 & exec sleep 6161")


@pytest.fixture
def node(docker: DockerEngine, use_env: Callable[[Mapping[str, str]], None]) -> DockerEngine:
    use_env(docker.env)
    return docker


async def worker(engine: DockerEngine, container: str) -> tuple[int, int]:
    """Return the first process of the container, and the other one once it is there."""
    await engine.exec(container, "until ps | grep -q '[s]leep 5151'; do sleep 0.1; done")
    first = await engine.pid(container)

    def child() -> int:
        return int(Path(f"/proc/{first}/task/{first}/children").read_text().split()[0])

    return first, await to_thread.run_sync(child)


async def rows_of(bundle: Bundle, container: str) -> dict[int, dict[str, Any]]:
    named = CaptureOptions(
        name=bundle.folder.name, subpath="", layer_seconds=60, artifacts=[ArtifactKind.PROCESSES]
    )
    await capture_container(f"docker://{container}", to=str(bundle.folder.parent), options=named)
    folder = bundle.folder / "containers" / bundle.capture.containers[0].name
    text = await to_thread.run_sync((folder / "processes.json").read_bytes)
    return {row["pid"]: row for row in json.loads(text)["processes"]}


async def test_a_mount_over_a_process_in_the_container_is_told(
    node: DockerEngine, image: str, bundle: Bundle
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
    node: DockerEngine,
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
    node: DockerEngine, image: str
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


async def collect_without_ptrace(bundle: Bundle, container: str, proc: Path) -> None:
    """Capture as root without the capability SYS_PTRACE, by a /proc mounted at `proc`."""
    # Of the group 0 hidepid keeps nothing.
    group = ["--regid=65534", "--clear-groups"]
    limits = ["setpriv", *group, "--bounding-set=-sys_ptrace", "--inh-caps=-all", "--"]
    to = f"--to={bundle.folder.parent.as_uri()}"
    what = ["collect", f"docker://{container}", to, "--artifact=processes"]
    done = await to_thread.run_sync(
        lambda: subprocess.run(
            [*limits, FORENSICS, *what, "-o", "json"],
            env={**os.environ, HOST_PROC: str(proc)},
            capture_output=True,
            text=True,
            check=False,
        )
    )
    assert done.returncode == 4, done.stderr
    (folder,) = (path.parent for path in bundle.folder.parent.rglob("manifest.json"))
    await to_thread.run_sync(folder.rename, bundle.folder)


@pytest.fixture
def hidepid(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "proc"
    folder.mkdir()
    subprocess.run(["mount", "-t", "proc", "-o", "hidepid=2", "proc", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def test_processes_that_hidepid_keeps_from_us_are_not_called_ended(
    node: DockerEngine, image: str, bundle: Bundle, hidepid: Path
) -> None:
    async with node.container(image, WORK, User="1000") as container:
        await collect_without_ptrace(bundle, container, hidepid)
    found = gap(bundle, "processes")
    assert (found.reason, found.requested) == ("NotPermitted", True) and "hidepid" in found.message


async def test_some_processes_that_hidepid_keeps_from_us(
    node: DockerEngine, image: str, bundle: Bundle, hidepid: Path
) -> None:
    async with node.container(image, WORK, User="0:65534") as container:
        await collect_without_ptrace(bundle, container, hidepid)
    assert gap(bundle, "processes of others").requested


async def test_parts_of_processes_that_we_may_not_read(
    node: DockerEngine, image: str, bundle: Bundle
) -> None:
    async with node.container(image, WORK, User="1000") as container:
        first = await node.pid(container)
        await collect_without_ptrace(bundle, container, Path("/proc"))
    found = gap(bundle, "processes.json, parts")
    assert (found.reason, found.requested) == ("NotPermitted", True)
    assert f"{first} (exe, cwd, root," in found.message
