"""What only lies in the memory of a real container's processes comes home as ELF cores."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import anyio
import pytest
import yara_x

from collector.docker.runtime import DockerRuntime
from forensics_core.bundle.manifest import Flag
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.memory.reading import (
    PYTHON,
    collect,
    cores,
    files,
    running,
    word,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

SORTS = ("heap", "rwx", "none", "sparse", "deleted", "modified", "memfd")


async def test_everything_that_lies_in_memory_only(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with running(docker, image) as container:
        await collect(bundle, container)
        pid = await docker.pid(container)
        number = int((await docker.exec(container, "cat /proc/1/stat")).split()[0])
    assert not bundle.capture.partial, bundle.gaps()
    assert bundle.gaps() == {"memory, left out of cores": "NotStored"}
    (core,) = cores(bundle).values()

    places = {name: core.segments_with(word(name)) for name in SORTS}
    assert all(places.values())
    flags = {name: {each["p_flags"] for each in found} for name, found in places.items()}
    assert 7 in flags["rwx"] and 0 in flags["none"]
    # Terabytes are mapped: a page of them is stored, and the rest is zeros.
    assert sum(each["p_memsz"] for each in core.segments) > 4 << 40
    assert len(core.data) < 100 << 20
    listed = {
        path: (row.vm_start, row.vm_end)
        for note in core.notes("NT_FILE")
        for path, row in zip(note["n_desc"].filename, note["n_desc"].Elf_Nt_File_Entry, strict=True)
    }
    start, end = listed[b"/tmp/lib.so (deleted)"]
    assert any(start <= each["p_vaddr"] < end for each in places["deleted"])
    assert PYTHON.encode() in listed and b"/memfd:evil (deleted)" in listed
    # It numbers itself in the core as it does for itself, and is named as the node numbers it.
    (info,) = core.notes("NT_PRPSINFO")
    assert (info["n_desc"].pr_pid, core.row["pid"]) == (number, pid)
    assert info["n_desc"].pr_fname.startswith(b"python")


async def test_each_thread_has_its_registers(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with running(docker, image) as container:
        await collect(bundle, container)
        numbers = (await docker.exec(container, "ls /proc/1/task")).split()
    (core,) = cores(bundle).values()
    pointers = core.pointers()
    assert {str(number) for number, _, _ in pointers} == set(numbers) and len(numbers) == 4
    assert all(core.holds(pc) and core.holds(sp) for _, pc, sp in pointers)
    assert len({sp for _, _, sp in pointers}) == 4
    assert len(core.notes("NT_FPREGSET")) == 4
    assert core.row["held"]["how"] == "ptrace" and core.row["held"]["whole"]
    assert core.artifact.method == "ptrace" and not core.artifact.flags


async def test_what_is_left_out_is_in_files_that_are_named(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with running(docker, image) as container:
        await collect(bundle, container)
        data = (Path(f"/proc/{await docker.pid(container)}") / "root/tmp/data").read_bytes()
    (core,) = cores(bundle).values()
    named = files(bundle)
    assert named[PYTHON]["sha256"] == hashlib.sha256(Path(PYTHON).read_bytes()).hexdigest()
    assert named["/tmp/data"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert named["/tmp/data"]["size"] == 1 << 20 and word("modified") not in data
    # The page that was written, and a few between it and others that are in memory.
    assert core.data.count(b"D" * 4096) < 64
    assert core.row["unmodified"] > 800_000 and core.row["omitted"]["kernel"]


@pytest.mark.skipif(not shutil.which("gdb"), reason="gdb is not installed")
async def test_gdb_shows_threads_and_memory(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle, tmp_path: Path
) -> None:
    async with running(docker, image) as container:
        await collect(bundle, container)
    (core,) = cores(bundle).values()
    (place,) = {each["p_vaddr"] for each in core.segments_with(word("rwx")) if each["p_flags"] == 7}
    (tmp_path / "core").write_bytes(core.data)
    commands = [f"x/s {place}", "info threads", "info registers", "info proc"]
    asked = [word for command in commands for word in ("-ex", command)]
    done = await anyio.run_process(
        ["gdb", "-nx", "-batch", *asked, "-c", str(tmp_path / "core")],
    )
    assert word("rwx").decode() in done.stdout.decode()
    assert done.stdout.count(b"LWP") >= 4 and b"rip" in done.stdout
    assert b"/subject.py" in done.stdout  # its arguments


@pytest.mark.skipif(not shutil.which("readelf"), reason="readelf is not installed")
async def test_readelf_finds_nothing_wrong(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle, tmp_path: Path
) -> None:
    async with running(docker, image) as container:
        await collect(bundle, container)
    (core,) = cores(bundle).values()
    (tmp_path / "core").write_bytes(core.data)
    done = await anyio.run_process(
        ["readelf", "--wide", "--headers", "--notes", str(tmp_path / "core")],
    )
    assert b"CORE (Core file)" in done.stdout and b"NT_AUXV" in done.stdout
    assert done.stderr == b"" and b"RWE" in done.stdout


async def test_yara_finds_what_is_in_memory(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with running(docker, image) as container:
        await collect(bundle, container)
    (core,) = cores(bundle).values()
    rules = yara_x.compile(
        'rule canary { strings: $a = "canary-4711-heap" $b = "canary-4711-none" '
        "condition: uint32(0) == 0x464c457f and all of them }"
    )
    assert [rule.identifier for rule in rules.scan(core.data).matching_rules] == ["canary"]


async def test_processes_that_share_memory_have_it_in_one_core(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with running(docker, image, "fork") as container:
        await docker.exec(container, "while ! [ -e /child ]; do sleep 0.1; done")
        await collect(bundle, container)
    found = cores(bundle)
    assert len(found) == 2
    assert [word("memfd") in core.data for core in found.values()].count(True) == 1
    assert [word("child") in core.data for core in found.values()].count(True) == 1
    (other,) = (core for core in found.values() if word("memfd") not in core.data)
    (holder,) = (pid for pid, core in found.items() if core is not other)
    assert [*other.row["elsewhere"].values()] == [holder]


async def test_without_a_standstill(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with running(docker, image) as container:
        await collect(bundle, container, freeze=False)
    (core,) = cores(bundle).values()
    assert all(word(name) in core.data for name in SORTS)
    assert core.artifact.flags == (Flag.CHANGED_WHILE_READ,)
    assert core.row["held"]["how"] == "nothing"
    # Threads that wait are where the kernel says; the rest of their registers is not known.
    assert all(core.holds(pc) and core.holds(sp) for _, pc, sp in core.pointers())
    gaps = bundle.gaps()
    assert (gaps["registers"], gaps["standstill"]) == ("NotRequested", "NotRequested")
    assert not bundle.capture.partial


async def test_a_container_that_stands_still_already(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with running(docker, image) as container:
        await collect(bundle, container, pause=True)
    (core,) = cores(bundle).values()
    assert core.row["held"]["how"] == "pause" and core.row["held"]["whole"]
    assert not core.artifact.flags and "standstill" not in bundle.gaps()
    assert all(word(name) in core.data for name in SORTS)


async def test_thousands_of_threads(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = """
import threading
threading.stack_size(64 * 1024)
for _ in range(5000):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
open("/ready", "w").close()
threading.Event().wait()
"""
    async with running(docker, image, script=script) as container:
        await collect(bundle, container)
    (core,) = cores(bundle).values()
    assert len(core.pointers()) == 5001 == core.row["threads"]


async def test_a_container_in_which_nothing_runs(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    container = await docker.create(image)
    await collect(bundle, container)
    await docker.remove(container)
    assert bundle.gaps() == {"memory": "NotRunning"} and not bundle.capture.partial
