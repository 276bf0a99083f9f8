"""The engine is a process of its own: what becomes of a scan when it dies, or is cancelled."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from blockbuster import BlockBuster

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.errors import ForensicsError
from forensics_core.readers.notes import Notes
from forensics_core.readers.scan import engine
from forensics_core.readers.scan.results import ScanResult
from forensics_core.readers.scan.rules import compile_rules
from forensics_core.readers.scan.scan import ScanTargets, scan
from forensics_core.readers.scan.session import running_engine
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import capture

ENDLESS = (
    "rule Endless { condition: for all i in (0..filesize - 1) : "
    "(for all j in (0..filesize - 1) : (uint8(i) + uint8(j) < 600)) }"
)
MARKER = 'rule Marker { strings: $a = "M4RK" condition: $a }'


async def bundle_of(folder: Path, *logs: bytes) -> str:
    async with open_destination(str(folder)) as destination:
        bundle = BundleWriter(destination)
        for number, log in enumerate(logs):
            name = f"containers/web/logs/{number}.log"
            await bundle.add(ArtifactSpec(name, ArtifactKind.LOGS, "web"), one(log))
        await bundle.finish(capture())
    return str(folder)


def rules(folder: Path, source: str) -> Path:
    path = folder / "rules.yar"
    path.write_text(source)
    return path


def engines() -> list[int]:
    """Return the engines that this process has started and that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        ours = int(stat[1]) == os.getpid() and stat[0] != "Z"
        if ours and engine.__name__.encode() in command:
            found.append(int(folder.name))
    return found


async def test_an_engine_that_dies_over_one_artifact_costs_that_one(
    tmp_path: Path, blockbuster: BlockBuster
) -> None:
    blockbuster.deactivate()  # looking for the engine blocks: it is done in the middle of a scan
    location = await bundle_of(tmp_path / "bundle", b"M4RK 0", b"M4RK 1", b"M4RK 2")
    results, notes = list[ScanResult](), Notes()

    def tell(found: Sequence[ScanResult]) -> None:
        results.extend(found)
        if found and len(results) == 1:
            (pid,) = engines()
            os.kill(pid, signal.SIGKILL)

    async with open_bundle(location) as bundle:
        counts = await scan(bundle, ["web"], ScanTargets((rules(tmp_path, MARKER),)), notes, tell)
    found = [result.subject.artifact[-5:] for result in results]
    assert found == ["0.log", "2.log"] and counts.failed == 1
    (line,) = notes.missing
    assert "ended by signal 9" in line and "not scanned" in line
    assert not engines() and not notes.not_genuine


async def test_cancelling_does_not_wait_for_the_rules(tmp_path: Path) -> None:
    location = await bundle_of(tmp_path / "bundle", bytes(20_000_000))
    wanted = ScanTargets((rules(tmp_path, ENDLESS),), seconds=3600)
    async with open_bundle(location) as bundle, anyio.create_task_group() as tasks:
        tasks.start_soon(scan, bundle, ["web"], wanted, Notes(), len)
        while not await to_thread.run_sync(engines):  # noqa: ASYNC110  # no event tells of it
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert not await to_thread.run_sync(engines)


async def test_an_engine_loads_no_module_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forensics_core").mkdir()
    (tmp_path / "forensics_core" / "__init__.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    async with running_engine([rules(tmp_path, MARKER)], 60):
        assert len(await to_thread.run_sync(engines)) == 1


async def test_rules_that_are_gone_are_told_of(tmp_path: Path) -> None:
    with pytest.raises(ForensicsError, match="No such file"):
        async with running_engine([tmp_path / "gone.yar"], 60):
            pass


def messages(*parts: tuple[bytes, int, bytes]) -> io.BytesIO:
    return io.BytesIO(
        b"".join(engine.HEAD.pack(kind, number) + data for kind, number, data in parts)
    )


def test_the_engine_answers_each_file_with_a_line(tmp_path: Path) -> None:
    path = rules(tmp_path, MARKER)
    source = messages(
        (engine.DATA, 4, b"M4RK"), (engine.END, 0, b""),
        (engine.DATA, 2, b"M4"), (engine.SKIP, 100, b""), (engine.DATA, 2, b"RK"),
        (engine.SKIP, 200, b""), (engine.DATA, 4, b"M4RK"), (engine.END, 0, b""),
        (engine.DATA, 4, b"M4RK"), (engine.DROP, 0, b""),
        (engine.END, 0, b""),
    )  # fmt: skip
    answers = io.BytesIO()
    engine.main(["60", str(path)], source, answers)
    ready, first, second, third = answers.getvalue().splitlines()
    (found,), timed_out = engine.parse_answer(first)
    assert ready == b"{}" and not timed_out
    assert (found.name, found.total, found.hits[0].offset) == (("rules", "Marker"), 1, 0)
    assert engine.parse_answer(second)[0][0].hits[0].offset == 200
    assert third == b""


def test_the_engine_leaves_the_rest_of_a_file_alone_that_takes_too_long(tmp_path: Path) -> None:
    size = 33 * 1024 * 1024
    source = messages(
        (engine.DATA, size, bytes(size)), (engine.SKIP, size + 1, b""), (engine.DATA, 1, b"x"),
        (engine.END, 0, b""), (engine.DATA, 1, b"x"), (engine.END, 0, b""),
    )  # fmt: skip
    answers = io.BytesIO()
    engine.serve(source, answers, compile_rules([rules(tmp_path, ENDLESS)], 1))
    first, second = answers.getvalue().splitlines()
    assert engine.parse_answer(first) == ([], True)
    found, timed_out = engine.parse_answer(second)
    assert [one.name for one in found] == [("rules", "Endless")] and not timed_out


@pytest.mark.parametrize("source", ["rule", "rule X { condition: y }"])
def test_the_engine_says_what_is_wrong_with_rules(tmp_path: Path, source: str) -> None:
    answers = io.BytesIO()
    engine.main(["60", str(rules(tmp_path, source))], io.BytesIO(), answers)
    said = json.loads(answers.getvalue())
    assert said["usage"] and "rules.yar" in said["error"] and said["hint"]
