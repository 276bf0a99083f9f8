"""The drawing of the rooms is made from the imports, and shows what the documents say."""

from __future__ import annotations

from pathlib import Path

from lab.rooms import ROOT, draw, numbers, operator_floors, survey


def test_no_room_imports_from_one_above_it(tmp_path: Path) -> None:
    house = survey(ROOT)
    assert {"api", "storage", "bundle", "operator", "collector", "slackbot"} <= house.floors.keys()
    upward = {
        (room, other)
        for room, other in house.arrows
        if other in house.floors and house.floors[other] >= house.floors[room]
    }
    # The package names what is public, which lies in its rooms.
    assert {pair for pair in upward if "forensics_core" not in pair} == set()
    picture = tmp_path / "rooms.png"
    draw(house, picture, "rooms")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_operator_has_six_floors_at_most() -> None:
    assert operator_floors(ROOT) <= 6


def test_the_page_has_what_is_counted() -> None:
    page = (ROOT / "docs/development.md").read_text()
    counted = dict(numbers(ROOT))
    assert [what for what in counted if f"| {what} |" not in page] == []
    assert counted["modules"] > counted["modules under 60 lines"] > 0
