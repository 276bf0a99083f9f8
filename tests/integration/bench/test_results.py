from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import cases, cat, memory, profile, readers
from bench.cases import CASES, MAIN, Case, CaseResult
from bench.cat import CatReading, Readings
from bench.goals import GOALS, publish
from bench.machine import describe_machine
from bench.measure import ScriptCost
from bench.memory import LargeFileCapture
from bench.page import Bound, Goal, PartResult, block, goal, table
from bench.plot import draw
from bench.procedures import NOWHERE, OURS, OURS_FIXED, OURS_PLAIN, SCRIPT, TAR, Procedure
from bench.profile import Profile
from bench.readers import ReaderRounds
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
        "mixed": None,
        "mixed-cpu": None,
        "mixed-plain": None,
        "script": 0.3,
        "nowhere": 0.75,
        "scratch": 0,
    }
    assert compared(CASES[1]).goals == {}


def test_without_a_profile_nobody_says_what_could_be() -> None:
    assert compared().bounds == {}


def test_what_could_be_at_best_comes_from_the_steps() -> None:
    rounds = [[run(OURS, 3), run(TAR, 2), run(NOWHERE, 4), run(OURS_PLAIN, 3)]]
    found = cases.finding(CaseResult(MAIN, "5 files", rounds), steps())
    cores = os.cpu_count() or 1
    # Read, hashed twice, compressed; half of it stored, and so hashed and sent in half the time.
    assert found.bounds["mixed-cpu"].value == (4 + 1 + 0.5) / 4
    assert found.bounds["mixed"].value == max(5.5 / cores, 1) / 2
    assert found.bounds["mixed-plain"].value == max(4 / cores, 1) / 4
    assert (found.goals["mixed"], found.goals["mixed-cpu"]) == (1.5, 1.5)


def test_over_a_link_the_fastest_fixed_way_counts_and_the_link_is_the_limit() -> None:
    gigabit = next(case for case in CASES if case.name == "mixed-gigabit")
    rounds = [[run(OURS, 3), run(OURS_FIXED, 4), run(OURS_PLAIN, 6)]]
    found = cases.finding(CaseResult(gigabit, "", rounds))
    assert found.goals == {"gigabit": 0.75}
    assert found.bounds["gigabit"].value == 5 * MiB / 125e6 / 4
    assert cases.finding(CaseResult(gigabit, "", [[run(OURS, 3)]])).bounds == {}


def test_the_memory_goal_is_about_us_and_the_worse_of_our_ways() -> None:
    found = memory.finding([LargeFileCapture(0, run(OURS, 1, peak=99 * MiB)), *LARGE])
    assert found.goals == {"memory-1": 201, "memory-16": None}
    assert found.bounds["memory-1"] == Bound(99, "that of almost nothing")
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


def steps() -> Profile:
    names = ("tree", "zstd", "sha256", "sha256_stored", "http", "https", "socket")
    costs = {name: cost(1) for name in names} | {"index": cost(2, out=100_000)}
    whole, nothing = StepCost(0, 5, 9, GiB // 2), StepCost(0, 1, 0.5, 0)
    return Profile("5 files", 3, costs, whole, nothing, StepCost(0, 0.1, 0.1))


def profiled() -> PartResult:
    return profile.finding(steps())


def test_the_profile_adds_up_what_a_capture_has() -> None:
    text = profiled().text
    assert "processors: a container with 5 files, of which 1,024 MiB of archive" in text
    assert "10 us a member |" in text  # the index takes 2 s, a second longer than hashing
    assert "| upload over HTTP, one object of noise | 0.50 | 1.00 |" in text  # half is stored
    assert "that is 7.0 s of CPU time" in text  # HTTPS is not a part of it
    assert "one core does alone takes 2.0 s" in text
    assert "took 9.0 s of CPU time in 5.0 s" in text
    assert "nothing cached" not in text
    assert profiled().goals == {"upload": 1, "nothing": 0.5}
    assert profiled().bounds["nothing"] == Bound(0.1, "Python's start, with `asyncio`")


def read_back() -> PartResult:
    each = tuple(CatReading(wall, wall * MiB, 4 + wall) for wall in (3, 1, 2))
    return cat.finding(Readings("5 files", 9 * MiB, each, each[1:], (), 0.1))


def test_the_largest_reading_counts_and_of_times_the_median() -> None:
    found = read_back()
    assert "| `forensics cat` of a file | 2.00 | 3.00 | 2.00 | 3.00 | 7 |" in found.text
    assert "| `forensics ls` of the bundle | 1.50 | 2.00 | 1.50 | 2.00 | 6 |" in found.text
    assert "of a folder" not in found.text
    assert found.goals == {
        "cat-fetched": 3,
        "cat-wall": 2,
        "cat-requests": 7,
        "ls-wall": 1.5,
        "ls-requests": 6,
    }
    assert found.bounds["ls-wall"].value == 0.1
    assert "ls-wall" not in cat.finding(Readings("", 0, (CatReading(1, 1),))).goals


def read_whole() -> PartResult:
    walls = {"verify": 3.0, "sha256sum": 1.0, "zstd": 1.0, "fetch": 2.0, "aws": 4.0, "s5cmd": 1.0}
    costs = {name: ScriptCost(wall, wall, 0, 0, 0) for name, wall in walls.items()}
    return readers.finding(ReaderRounds("5 files", 6_000_000, [costs]))


def test_verifying_is_compared_with_both_commands_that_it_takes_the_place_of() -> None:
    found = read_whole()
    assert "| `forensics verify` of a folder | 3.00 | 2 |" in found.text
    assert found.goals == {"verify": 1.5, "fetch": 0.5}
    assert found.bounds["verify"].value == 1 / (os.cpu_count() or 1)
    assert found.bounds["fetch"].value == 0.25
    assert readers.finding(None).goals == {}


@pytest.mark.parametrize(
    "finding",
    [compared(), memory.finding(LARGE), profiled(), read_back(), read_whole()],
    ids=lambda f: f.name,
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


def bare(folder: Path) -> Path:
    page = folder / "performance.md"
    page.write_text("<!-- bench:goals -->\n<!-- /bench -->\n<!-- bench:a -->\n<!-- /bench -->\n")
    return page


def test_goals_that_were_measured_before_stay_until_they_change(tmp_path: Path) -> None:
    page = bare(tmp_path)
    best = {"mixed": Bound(0.45, "the disk")}
    publish(page, PartResult("a", "", {"scratch": 7, "mixed": 0.9}, best))
    publish(page, PartResult("a", "", {"scratch": 0, "script": None}))
    rows = block(page, "goals").splitlines()[2:]
    assert len(rows) == len(GOALS)
    assert f"| {GOALS['scratch'].what} | ≤ 0 | 0 | met |  |  |  |" in rows
    assert f"| {GOALS['mixed'].what} | ≤ 1.1 | 0.9 | met | 0.45 | the disk | 2.00 |" in rows
    assert f"| {GOALS['script'].what} | ≤ 0.5 | not measured |  |  |  |  |" in rows
    page.write_text(page.read_text().replace("| ≤ 1.1 | 0.9 |", "| ≤ 0.8 | 0.9 |"))
    publish(page)
    assert f"| {GOALS['mixed'].what} | ≤ 1.1 | not measured |" in block(page, "goals")


def test_where_more_is_better_the_distance_is_what_is_missing(tmp_path: Path) -> None:
    page = bare(tmp_path)
    best = {"operator-rate": Bound(40, "one core")}
    publish(page, PartResult("a", "", {"operator-rate": 20}, best))
    row = f"| {GOALS['operator-rate'].what} | ≥ 50 | 20 | **not met** | 40 | one core | 2.00 |"
    assert row in block(page, "goals").splitlines()
    assert (tmp_path / "images" / "bench-goals.png").stat().st_size > 10_000


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
