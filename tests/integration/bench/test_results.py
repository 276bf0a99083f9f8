from __future__ import annotations

from pathlib import Path

import pytest

from bench import cases, cat, memory, profile
from bench.cases import CASES, MAIN, Case, CaseResult
from bench.cat import CatReading, Readings
from bench.machine import describe_machine
from bench.measure import ScriptCost
from bench.memory import LargeFileCapture
from bench.page import GOALS, Goal, PartResult, block, goal, publish, table
from bench.plot import draw
from bench.procedures import NOWHERE, OURS, OURS_PLAIN, SCRIPT, TAR, Procedure
from bench.profile import Profile
from bench.runs import ProcedureRun
from bench.steps import StepCost
from bench.summary import ratio, summarize
from lab.docker import DockerEngine
from lab.images import GiB, MiB
from lab.process import LabError

PAGE = Path(__file__).parents[3] / "docs" / "performance.md"


def run(
    procedure: Procedure, wall: float, *, peak: int = 0, written: int = 0, engine: float | None = 1
) -> ProcedureRun:
    return ProcedureRun(procedure, ScriptCost(wall, 2 * wall, peak, peak, written), 5 * MiB, engine)


ROUNDS = [
    [run(OURS, 3, peak=90 * MiB), run(SCRIPT, 10, written=7 * MiB), run(NOWHERE, 4)],
    [run(OURS, 4, peak=99 * MiB), run(SCRIPT, 16, written=7 * MiB), run(NOWHERE, 8)],
    [run(OURS, 9, peak=95 * MiB), run(SCRIPT, 10, written=7 * MiB), run(NOWHERE, 3)],
]
LARGE = [
    LargeFileCapture(GiB, run(OURS, 2, peak=201 * MiB)),
    LargeFileCapture(GiB, run(OURS_PLAIN, 1, peak=90 * MiB)),
    LargeFileCapture(GiB, run(TAR, 1, peak=900 * MiB)),
    LargeFileCapture(16 * GiB, None),
]


def compared(case: Case = MAIN) -> PartResult:
    return cases.finding(CaseResult(case, "5 files", ROUNDS))


def test_ratios_are_those_of_the_same_round() -> None:
    ours, script, _ = summarize(ROUNDS)
    assert (ours.wall, ours.fastest, ours.slowest) == (4, 3, 9)
    assert ours.of_script == 0.3  # of 0.3, 0.25 and 0.9; the medians' would be 0.4
    assert ours.of_nowhere == 0.75
    assert script.of_script == 1
    assert (ours.peak, ours.cpu, ours.engine_cpu, ours.stored) == (99 * MiB, 8, 1, 5 * MiB)


def test_without_its_base_there_is_no_ratio() -> None:
    rounds = [[run(OURS, 3, engine=None)]]
    (row,) = summarize(rounds)
    assert (row.of_script, row.of_nowhere, row.of_tar, row.engine_cpu) == (None,) * 4
    found = cases.finding(CaseResult(MAIN, "", rounds)).goals
    assert {name: value for name, value in found.items() if value is not None} == {"scratch": 0}
    assert ratio(rounds, SCRIPT, OURS) is None


def test_goals_are_about_the_main_case_only() -> None:
    assert compared().goals == {
        "script": 0.3,
        "script-hoped": 0.3,
        "nowhere": 0.75,
        "nowhere-hoped": 0.75,
        "tar": None,
        "pipe-zstd": None,
        "plain-nowhere": None,
        "scratch": 0,
    }
    assert compared(CASES[1]).goals == {}


def test_the_memory_goal_is_about_us_and_the_worse_of_our_ways() -> None:
    assert memory.finding(LARGE).goals == {"memory-1": 201, "memory-16": None}
    assert memory.finding([LargeFileCapture(8 * MiB, run(OURS, 1))]).goals == {}


def test_goals_say_what_was_met_and_what_was_not() -> None:
    few, many = Goal("few", 200), Goal("many", 2, at_least=True)
    assert goal(few, 200) == ["few", "200", "200", "met"]
    assert goal(few, 201) == ["few", "200", "201", "**not met**"]
    assert goal(many, 2) == ["many", "2", "2", "met"]
    assert goal(many, 1.5) == ["many", "2", "1.5", "**not met**"]
    assert goal(few, None) == ["few", "200", "not measured", ""]


def cost(seconds: float, out: int = 0) -> StepCost:
    return StepCost(GiB, seconds, seconds, out)


def profiled() -> PartResult:
    names = ("tree", "zstd", "sha256", "sha256_stored", "http", "https")
    steps = {name: cost(1) for name in names} | {"index": cost(2, out=100_000)}
    whole, nothing = StepCost(0, 5, 9, GiB // 2), StepCost(0, 1, 0.5, 0)
    return profile.finding(Profile("5 files", 3, steps, whole, nothing))


def test_the_profile_adds_up_what_a_capture_has() -> None:
    text = profiled().text
    assert "in 3 rounds: a container with 5 files, of which 1,024 MiB of archive" in text
    assert "10 us a member |" in text  # the index takes 2 s, a second longer than hashing
    assert "| upload over HTTP, one object of noise | 0.50 | 1.00 |" in text  # half is stored
    assert "that is 7.0 s of CPU time" in text  # HTTPS is not a part of it
    assert "one core does alone takes 2.0 s" in text
    assert "took 9.0 s of CPU time in 5.0 s" in text
    assert "nothing cached" not in text
    assert profiled().goals == {"upload": 1}


def read_back() -> PartResult:
    each = tuple(CatReading(wall, wall * MiB) for wall in (3, 1, 2))
    return cat.finding(Readings("5 files", 9 * MiB, each))


def test_the_slowest_and_the_largest_reading_is_the_one_that_counts() -> None:
    assert "| MiB fetched | 1.00 | 2.00 | 3.00 |" in read_back().text
    assert read_back().goals == {"cat-fetched": 3, "cat-wall": 3}


@pytest.mark.parametrize(
    "finding", [compared(), memory.finding(LARGE), profiled(), read_back()], ids=lambda f: f.name
)
def test_tables_are_tables(finding: PartResult) -> None:
    lines = [line for line in finding.text.splitlines() if line.startswith("|")]
    assert len(lines) > 3
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_rows_have_what_was_measured() -> None:
    assert "| `forensics collect` | 4.00 (3.00 to 9.00) | 0.30 | 0.75 |" in compared().text
    text = memory.finding(LARGE).text
    assert "| 1 GiB | `forensics collect` | 2.00 | 512 | 4.00 | 201 |" in text
    assert "| 16 GiB | not measured: no room" in text
    assert table(["a"], []) == "Not measured."


def test_each_finding_has_its_place_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE.read_text())
    findings = [memory.finding(LARGE), profiled(), read_back(), *map(compared, CASES)]
    publish(page, *findings)
    once = page.read_text()
    for finding in findings:
        assert block(page, finding.name) == finding.text
    publish(page, *findings)
    assert page.read_text() == once
    assert outside(once) == outside(PAGE.read_text())


def test_goals_that_were_measured_before_stay_until_they_change(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("<!-- bench:goals -->\n<!-- /bench -->\n<!-- bench:a -->\n<!-- /bench -->\n")
    publish(page, PartResult("a", "", {"scratch": 7, "tar": 0.9}))
    publish(page, PartResult("a", "", {"scratch": 0, "script": None}))
    rows = block(page, "goals").splitlines()[2:]
    assert len(rows) == len(GOALS)
    assert f"| {GOALS['scratch'].what} | 0 | 0 | met |" in rows
    assert f"| {GOALS['tar'].what} | 1 | 0.9 | met |" in rows
    assert f"| {GOALS['script'].what} | 0.5 | not measured |  |" in rows
    page.write_text(page.read_text().replace("| 1 | 0.9 |", "| 0.8 | 0.9 |"))
    publish(page)
    assert f"| {GOALS['tar'].what} | 1 | not measured |  |" in block(page, "goals")


def outside(page: str) -> list[str]:
    return [piece.partition("<!-- bench:")[0] for piece in page.split("<!-- /bench -->")]


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("<!-- bench:memory -->\n")
    with pytest.raises(LabError, match="no markers for 'memory'"):
        publish(page, memory.finding(LARGE))
    assert page.read_text() == "<!-- bench:memory -->\n"


def test_the_picture_is_a_png_and_the_same_again(tmp_path: Path) -> None:
    pictures = [tmp_path / "images" / name for name in ("a.png", "b.png")]
    for picture in pictures:
        draw(summarize(ROUNDS), picture)
    one, two = (picture.read_bytes() for picture in pictures)
    assert one.startswith(b"\x89PNG")
    assert one == two


def test_the_machine_is_described_without_its_name(docker: DockerEngine) -> None:
    said = describe_machine(docker)
    assert "GiB of memory, Linux " in said
    assert "Docker Engine " in said
    assert Path("/proc/sys/kernel/hostname").read_text().strip() not in said
    assert "/" not in said
