"""A part of the benchmark as a command of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import click

from bench.goals import publish
from bench.page import PartResult, fill
from bench.sink import ROOT
from forensics_core.errors import ForensicsError
from lab.process import end_politely

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Results = Mapping[str, str] | Sequence[PartResult]
"""Tables by marker, or with the goals that they are about."""


def part_options(few: str, document: str = "performance.md") -> Callable[[Decorated], Decorated]:
    """Options of a part that `run_part` runs; `few` says what a quick run is made with."""
    docs = click.option(
        "--docs",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help=f"Where {document} is.  [default: docs/ after a whole run, else nowhere]",
    )
    quick = click.option("--quick", is_flag=True, help=f"{few}: to see that it works.")
    return lambda command: quick(docs(command))


def run_part(
    document: str, measure: Callable[[Path], Results], *, quick: bool, docs: Path | None
) -> None:
    """Measure in a scratch folder, print the tables, and put them between `document`'s markers.

    `measure` returns what is to be published. `docs` is where the document is; None is `docs/`, but
    for a quick run, whose numbers say nothing. Raises `ClickException` where something fails.
    """
    end_politely()
    if not (quick or docs):
        docs = ROOT / "docs"
    try:
        with TemporaryDirectory(prefix="bench-") as folder:
            found = measure(Path(folder))
    except ForensicsError as error:
        raise click.ClickException(str(error)) from error
    results = (
        [PartResult(name, text) for name, text in found.items()]
        if isinstance(found, Mapping)
        else found
    )
    print("\n\n".join(result.text for result in results))
    if docs:
        _publish(docs / document, results)


def _publish(page: Path, results: Sequence[PartResult]) -> None:
    if any(result.goals for result in results):
        publish(page, *results)
    else:
        fill(page, {result.name: result.text for result in results})
