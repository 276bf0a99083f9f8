"""The commands that the documents tell people to type are there, with their options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from forensics_core.bundle.layout import is_of_attempt
from forensics_core.cli.main import forensics

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "docs").glob("*.md"))]
TYPED = re.compile(r"^ {4,}(?:sudo (?:\S*/)?|kubectl |\$ )?(forensics .*(?:\\\n.*)*)", re.MULTILINE)
BUNDLE = re.compile(r"\d{8}T\d{6}Z_[\w.-]+_[0-9a-f]{8}-[\w-]*\w")


def typed() -> list[tuple[str, str]]:
    """Return each page's name with a command in it, in one line."""
    return [
        (page.name, line.replace("\\\n", " "))
        for page in PAGES
        for line in TYPED.findall(page.read_text())
    ]


@pytest.mark.parametrize(("page", "line"), typed())
def test_every_command_takes_what_it_is_given(page: str, line: str) -> None:
    words = shlex.split(re.split(r" [|>&]|\[|;| \.\.\.", line)[0], comments=True)
    command: click.Command | None = forensics
    options: set[str] = set()
    arguments = 0
    with click.Context(forensics) as context:
        for word in words[1:]:
            if arguments:
                # Of a group itself, as in `incident INC-7 status`.
                arguments -= 1
            elif isinstance(command, click.Group) and not word.startswith("-"):
                command = command.get_command(context, word)
                assert command, f"{page}: there is no {word}"
                if isinstance(command, click.Group):
                    arguments = sum(isinstance(each, click.Argument) for each in command.params)
            options |= {word.partition("=")[0]} if re.match("--[a-z]", word) else set()
        assert command
        known = {
            name
            for each in command.get_params(context)
            for name in (*each.opts, *each.secondary_opts)
        }
    assert options <= known, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_bundles_have_the_names_that_they_are_given_today(page: Path) -> None:
    for name in BUNDLE.findall(page.read_text()):
        assert is_of_attempt(name, 1) and re.search("-1-[0-9a-f]{16}$", name), name
