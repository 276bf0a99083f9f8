"""How things look: sizes, times, tables, JSON, and names that cannot play tricks.

Whatever comes from evidence is hostile until it went through `clean`: a file name may hold escape
codes that rewrite the terminal, or marks that turn the reading direction round.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any

import click

from forensics_core._internal.text import printable
from forensics_core._internal.units import human_size
from forensics_core.errors import ForensicsError

_MAX_TEXT = 8192
"""Characters of a text that are shown: twice what the kernel takes for a path."""


def clean(text: str) -> str:
    r"""Return `text` on one line with every unsafe character escaped: `\x1b`, `\u202e`, `\n`.

    A backslash is doubled, so that two different names never look the same.
    """
    # Doubled first: the backslashes that escaping puts in are single ones.
    return clean_message(text.replace("\\", "\\\\"))


def clean_message(text: str) -> str:
    """Return a message of ours, made safe in the same way, but with its backslashes as they are."""
    return printable(text, _MAX_TEXT)


def size(count: int) -> str:
    """Return a number of bytes for people, in binary units: `1.75 GiB`, `512 B`."""
    return human_size(count, digits=2)


def duration(seconds: float) -> str:
    """Return a time span as `MM:SS`, or `H:MM:SS` from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def counted(number: int, noun: str) -> str:
    """Return `1 artifact`, `2 artifacts`, `2 memories`."""
    if number == 1:
        return f"{number:,} {noun}"
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {several}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "") -> str:
    """Return a plain table with cleaned cells; headings named in `right` are aligned to the right.

    There are no lines and no colours, so that it can be cut and searched like any text.
    """
    lines = [list(headings), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    to_right = [heading in right.split() for heading in headings]
    return "\n".join(_row(line, widths, to_right) for line in lines)


def _row(cells: Sequence[str], widths: Sequence[int], to_right: Sequence[bool]) -> str:
    aligned = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, to_right, strict=True)
    )
    return "  ".join(aligned).rstrip()


def print_text(text: str) -> None:
    """Print a line, or lines, to the standard output."""
    click.echo(text)


def print_json(data: Any) -> None:
    """Print `data` as indented JSON, ASCII only: safe on any terminal, and exact."""
    json.dump(data, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def print_data(data: Any, output: str) -> None:
    """Print plain data as `json` or `yaml`."""
    if output == "json":
        print_json(data)
    else:
        import yaml

        # ASCII only, as with JSON: safe on any terminal.
        print_text(yaml.safe_dump(data, sort_keys=False).rstrip("\n"))


async def print_json_list(head: Mapping[str, Any], name: str, batches: AsyncIterable[Any]) -> None:
    """Print one object with the list `name` of all rows in `batches`, a row a line, holding none.

    It is whole JSON also where reading ends with an error, which is its field `error` then.
    """
    separator = f"{json.dumps(head)[:-1]}, {json.dumps(name)}: [\n"
    # Row by row: a container has millions of files, and they are not held here.
    try:
        async for rows in batches:
            for row in rows:
                sys.stdout.write(separator + json.dumps(row))
                separator = ",\n"
    except ForensicsError as error:
        # Before the first row nothing was printed, and the line on the standard error is all there
        # is.
        if separator == ",\n":
            sys.stdout.write(f'\n], "error": {json.dumps(str(error))}}}\n')
        raise
    sys.stdout.write(("" if separator == ",\n" else separator) + "\n]}\n")
