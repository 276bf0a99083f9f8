"""The glossary: each word has one meaning, and is where it is said to be."""

from __future__ import annotations

from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

GLOSSARY = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in GLOSSARY.splitlines()
    if line.startswith("|") and not line.startswith(("| term", "|---"))
]


def test_a_term_has_one_meaning() -> None:
    terms = [term.lower() for term, _, _ in ROWS]
    assert sorted(terms) == sorted(set(terms))


@pytest.mark.parametrize(("term", "place"), [(term, place) for term, _, place in ROWS])
def test_a_term_is_in_the_code(term: str, place: str) -> None:
    module, _, name = place.strip("`").partition(":")
    found: object = import_module(module)
    if name:
        assert reduce(getattr, name.split("."), found), term
