"""Draw the house: a box for each room, an arrow for each room that it imports from, floor on floor.

    python -m lab.rooms docs/images/rooms.png [--source DIR]

The rooms are those of `forensics_core`, and each other package as a whole. What is imported only
for the type checker counts, too. An arrow is left out where others lead the same way, so that the
picture can be read; one that leads up, or stays on its floor, is red. `--numbers` prints the table
of docs/development.md.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

ROOT = Path(__file__).parents[1]
CORE = "forensics_core"
PACKAGES = (CORE, "forensics_loopback", "collector", "slackbot")
SMALL = 60
"""Lines under which a module needs a reason."""


@dataclass(frozen=True, slots=True)
class RoomGraph:
    """Rooms and what they import from."""

    floors: dict[str, int]
    """Of each room; whatever it imports from is on a lower one, but for circles."""
    arrows: frozenset[tuple[str, str]]
    modules: dict[str, int]


def survey(source: Path) -> RoomGraph:
    """Read the imports of the packages in `source`; those that are not there are left out."""
    sys.path.insert(0, str(source))
    there = [name for name in PACKAGES if (source / name).is_dir()]
    graph = grimp.build_graph(*there, exclude_type_checking_imports=False, cache_dir=None)
    files = [name for name in graph.modules if not _is_package(source, name)]
    modules: dict[str, int] = {}
    arrows: set[tuple[str, str]] = set()
    for name in files:
        room = _room(source, name)
        modules[room] = modules.get(room, 0) + 1
        imported = (_room(source, each) for each in graph.find_modules_directly_imported_by(name))
        arrows |= {(room, other) for other in imported if other != room}
    return RoomGraph(_floors(modules, arrows), frozenset(arrows), modules)


def _is_package(source: Path, module: str) -> bool:
    return (source / module.replace(".", "/")).is_dir()


def _room(source: Path, module: str) -> str:
    package, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    if package != CORE:
        return package
    if not first:
        return CORE
    return first if _is_package(source, f"{CORE}.{first}") else f"{first}.py"


def _floors(rooms: dict[str, int], arrows: set[tuple[str, str]]) -> dict[str, int]:
    """Return the longest way down from each room; what is met again on the way counts no more."""
    below: dict[str, set[str]] = {room: set() for room in rooms}
    for room, other in arrows:
        if other in below:
            below[room].add(other)
    floors: dict[str, int] = {}

    def floor(room: str, way: frozenset[str]) -> int:
        if room not in floors:
            under = [floor(other, way | {room}) for other in below[room] - way - {room}]
            floors[room] = 1 + max(under, default=-1)
        return floors[room]

    for room in sorted(rooms):
        floor(room, frozenset())
    return floors


def draw(house: RoomGraph, path: Path, title: str) -> None:
    """Write the picture."""
    figure = Figure(figsize=(11, 1.1 * (max(house.floors.values()) + 2)), layout="tight")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_title(title, loc="left")
    places = _places(house.floors)
    for room, other in sorted(_needed(house.arrows)):
        if other in places:
            _arrow(axes, places[room], places[other])
    for room, (x, y) in places.items():
        text = f"{room}\n{house.modules[room]} modules"
        box = {"boxstyle": "round,pad=0.4", "facecolor": "#eef3fa", "edgecolor": "#3b5b8c"}
        axes.text(x, y, text, ha="center", va="center", fontsize=9, bbox=box, zorder=3)
    axes.set_xlim(-0.6, 10.6)
    axes.set_ylim(-0.7, max(house.floors.values()) + 0.7)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _needed(arrows: frozenset[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows that no way over other rooms stands for."""
    below: dict[str, set[str]] = {}
    for room, other in arrows:
        below.setdefault(room, set()).add(other)

    def leads(start: str, end: str) -> bool:
        waiting, seen = list(below.get(start, set()) - {end}), {start}
        while waiting:
            room = waiting.pop()
            if room == end:
                return True
            if room not in seen:
                seen.add(room)
                waiting += below.get(room, ())
        return False

    return {(room, other) for room, other in arrows if not leads(room, other)}


def _places(floors: dict[str, int]) -> dict[str, tuple[float, float]]:
    places = {}
    for number in sorted(set(floors.values())):
        rooms = sorted(room for room, floor in floors.items() if floor == number)
        for at, room in enumerate(rooms):
            places[room] = (10 * (at + 1) / (len(rooms) + 1), float(number))
    return places


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    upward = end[1] >= start[1]
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=9,
            shrinkA=18,
            shrinkB=18,
            connectionstyle="arc3,rad=0.12",
            color="#c0392b" if upward else "#9aa7b8",
            linewidth=1.2 if upward else 0.8,
        )
    )


def numbers(source: Path) -> Iterator[tuple[str, int]]:
    """Yield what can be counted of the product's modules and of its tests."""
    files = [path for name in PACKAGES for path in (source / name).rglob("*.py")]
    files = [path for path in files if not path.name.endswith("_pb2.py")]
    sizes = [len(path.read_text().splitlines()) for path in files if path.name != "__init__.py"]
    functions = [size for path in files for size in _functions(path)]
    tests = [len(path.read_text().splitlines()) for path in (source / "tests").rglob("*.py")]
    yield "modules", len(sizes)
    yield f"modules under {SMALL} lines", sum(size < SMALL for size in sizes)
    yield "median module, lines", round(statistics.median(sizes))
    yield "longest module, lines", max(sizes)
    yield "median function, lines", round(statistics.median(functions))
    yield "longest function, lines", max(functions)
    yield "lines of source", sum(sizes)
    yield "lines of tests", sum(tests)
    yield "floors of the operator", operator_floors(source)


def _functions(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def operator_floors(source: Path) -> int:
    """Return how many modules of the operator stand on each other at most."""
    folder = source / CORE / "operator"
    files = {path: _dotted(source, path) for path in folder.rglob("*.py")}
    there = {name for path, name in files.items() if path.name != "__init__.py"}
    arrows = {
        (name, other) for path, name in files.items() for other in _imported(path) & there - {name}
    }
    return 1 + max(_floors(dict.fromkeys(there, 1), arrows).values())


def _dotted(source: Path, path: Path) -> str:
    return ".".join(path.relative_to(source).with_suffix("").parts)


def _imported(path: Path) -> set[str]:
    """Return the modules that one of them imports, or imports names from."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def main() -> None:
    """Draw, or print the numbers."""
    parser = argparse.ArgumentParser(description="Draw the rooms of the house.")
    parser.add_argument("picture", type=Path, nargs="?")
    parser.add_argument("--source", type=Path, default=ROOT)
    parser.add_argument("--title", default="kube-forensics: who imports from whom")
    parser.add_argument("--numbers", action="store_true")
    given = parser.parse_args()
    if given.numbers:
        for what, value in numbers(given.source.resolve()):
            print(f"| {what} | {value} |")
    if given.picture:
        draw(survey(given.source.resolve()), given.picture, given.title)


if __name__ == "__main__":
    main()
