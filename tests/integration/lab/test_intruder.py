"""The intruder: each trace is where it should be, nowhere else, and gone at the end."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from aiodocker import DockerError

from lab.docker import DockerEngine
from lab.intruder.container import IntrudedContainer, intruded
from lab.intruder.trace import WORD
from lab.process import LabError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can let the intruder in")

AREA = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ 0 *(\[heap\]|\[stack\]|)$", re.MULTILINE)
IN_MEMORY = {
    "heap",
    "code",
    "undumpable",
    "environment",
    "arguments",
    "leaderless",
    "other-user",
    "exec",
}
"""What is in the memory of a process by what it is."""


def memory(pid: int) -> Iterator[bytes]:
    """Yield what a process holds in memory that is no file's."""
    with suppress(ProcessLookupError), Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        for start, end, _ in AREA.findall(Path(f"/proc/{pid}/maps").read_text()):
            with suppress(OSError):
                file.seek(int(start, 16))
                yield file.read(int(end, 16) - int(start, 16))


def processes(container: IntrudedContainer) -> list[int]:
    """Return the processes in the container's control group, and below it."""
    group = Path(f"/proc/{container.pid}/cgroup").read_text().splitlines()[0].rpartition(":")[2]
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if group in (process / "cgroup").read_text():
                found.append(int(process.name))
    return found


async def test_what_is_not_in_memory_by_its_nature_is_in_no_process(
    docker: DockerEngine, tmp_path: Path
) -> None:
    async with intruded("docker", tmp_path, docker) as container:
        numbers = processes(container)
        assert len(numbers) > 30
        seen = {
            word.decode() for pid in numbers for area in memory(pid) for word in WORD.findall(area)
        }
        marks = {
            clue.anchor: planted.trace.id
            for planted in container.planted
            for clue in planted.content
        }
        found = {marks[word] for word in seen if word.startswith("km")}
        assert {"heap", "code"} <= found <= IN_MEMORY


async def test_tool_and_plan_are_gone_when_the_traces_are_there(
    docker: DockerEngine, tmp_path: Path
) -> None:
    async with intruded("docker", tmp_path, docker) as container:
        left = {path.name for path in Path(f"/proc/{container.pid}/root/tmp").iterdir()}
        assert not {".tool", ".plan"} & left
        folder = Path(f"/proc/{container.pid}/root/var/tmp")
        done = await anyio.run_process(["lsattr", *folder.iterdir()], check=False)
        assert b"----i" in done.stdout
    with pytest.raises(DockerError, match="No such container"):
        await docker.inspect(container.id)


async def test_without_a_compiler_it_is_said_what_to_install(
    docker: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "busybox").symlink_to("/bin/busybox")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(LabError, match=r"There is no C compiler.*gcc"):
        async with intruded("docker", tmp_path, docker):
            pass
