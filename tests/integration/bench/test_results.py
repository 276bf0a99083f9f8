from __future__ import annotations

from pathlib import Path

import pytest

from bench.machine import describe_machine
from bench.measure import Cost
from bench.memory import Large
from bench.plot import draw
from bench.procedures import NOWHERE, OURS, OURS_PLAIN, SCRIPT, Procedure
from bench.report import Results, blocks, goals, update
from bench.runs import Run
from bench.summary import summarize
from lab.docker import Engine
from lab.images import GiB, MiB
from lab.process import LabError

PAGE = Path(__file__).parents[3] / "docs" / "performance.md"


def run(
    procedure: Procedure, wall: float, *, peak: int = 0, written: int = 0, engine: float | None = 1
) -> Run:
    return Run(procedure, Cost(wall, 2 * wall, peak, peak, written), 5 * MiB, engine)


def results(*large: Large) -> Results:
    rounds = [
        [run(OURS, 3, peak=90 * MiB), run(SCRIPT, 10, written=7 * MiB), run(NOWHERE, 4)],
        [run(OURS, 4, peak=99 * MiB), run(SCRIPT, 16, written=7 * MiB), run(NOWHERE, 8)],
        [run(OURS, 9, peak=95 * MiB), run(SCRIPT, 10, written=7 * MiB), run(NOWHERE, 3)],
    ]
    return Results("Measured here.", summarize(rounds), large)


def test_ratios_are_those_of_the_same_round() -> None:
    ours, script, _ = results().rows
    assert (ours.wall, ours.fastest, ours.slowest) == (4, 3, 9)
    assert ours.of_script == 0.3  # of 0.3, 0.25 and 0.9; the medians' would be 0.4
    assert ours.of_nowhere == 0.75
    assert script.of_script == 1
    assert (ours.peak, ours.cpu, ours.engine_cpu, ours.stored) == (99 * MiB, 8, 1, 5 * MiB)


def test_without_its_base_there_is_no_ratio() -> None:
    (row,) = summarize([[run(OURS, 3, engine=None)]])
    assert (row.of_script, row.of_nowhere, row.of_tar, row.engine_cpu) == (None,) * 4
    assert next(goals(Results("", [row], ())))[2:] == ["not measured", ""]


def test_goals_say_what_was_met_and_what_was_not() -> None:
    large = [
        Large(GiB, run(OURS, 1, peak=201 * MiB)),
        Large(GiB, run(OURS_PLAIN, 1, peak=200 * MiB)),
        Large(16 * GiB, None),
    ]
    assert list(goals(results(*large))) == [
        ["wall time, of the usual script's", "0.5", "0.3", "met"],
        ["wall time, of an export's to nowhere", "1", "0.75", "met"],
        ["wall time, of the fastest pipeline's by hand", "1", "not measured", ""],
        ["scratch bytes", "0", "0", "met"],
        ["peak MiB at 1 GiB, zstd", "200", "201", "**not met**"],
        ["peak MiB at 1 GiB, none", "200", "200", "met"],
        ["peak MiB at 16 GiB", "200", "not measured", ""],
    ]


def test_tables_are_tables() -> None:
    large = Large(GiB, run(OURS, 2, peak=90 * MiB)), Large(16 * GiB, None)
    for name, block in blocks(results(*large)).items():
        cells = {line.replace("\\|", "").count("|") for line in block.splitlines()}
        assert len(cells) == 1, name
    assert "not measured: no room" in blocks(results(*large))["memory"]
    assert "| 1 GiB | zstd | 2.00 | 512 | 4.00 | 90 |" in blocks(results(*large))["memory"]


def test_what_was_not_measured_has_no_table() -> None:
    assert blocks(Results("", (), ()))["procedures"] == "Not measured."


def test_the_page_is_updated_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE.read_text())
    update(page, results())
    once = page.read_text()
    assert "\n<!-- bench:setting -->\nMeasured here.\n<!-- /bench -->\n" in once
    assert "| `forensics collect` | 4.00 (3.00 to 9.00) | 0.30 | 0.75 |" in once
    update(page, results())
    assert page.read_text() == once
    assert outside(once) == outside(PAGE.read_text())


def outside(page: str) -> list[str]:
    return [piece.partition("<!-- bench:")[0] for piece in page.split("<!-- /bench -->")]


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("<!-- bench:setting -->\n")
    with pytest.raises(LabError, match="no markers for 'setting'"):
        update(page, results())
    assert page.read_text() == "<!-- bench:setting -->\n"


def test_the_picture_is_a_png_and_the_same_again(tmp_path: Path) -> None:
    pictures = [tmp_path / "images" / name for name in ("a.png", "b.png")]
    for picture in pictures:
        draw(results().rows, picture)
    one, two = (picture.read_bytes() for picture in pictures)
    assert one.startswith(b"\x89PNG")
    assert one == two


def test_the_machine_is_described_without_its_name(docker: Engine) -> None:
    said = describe_machine(docker)
    assert "GiB of memory, Linux " in said
    assert "Docker Engine " in said
    assert Path("/proc/sys/kernel/hostname").read_text().strip() not in said
    assert "/" not in said
