"""`forensics scan`: YARA rules over all bytes of a bundle, and lists of hashes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from forensics_core.cli.options import (
    containers_option,
    opened_bundle,
    output_option,
    owner_option,
    traffic_as_json,
    whole_size,
)
from forensics_core.cli.program import run
from forensics_core.cli.render import clean, clean_message, counted, size
from forensics_core.errors import UsageError

if TYPE_CHECKING:
    from forensics_core.bundle.reader import BundleReader
    from forensics_core.readers.notes import Notes
    from forensics_core.readers.scan.results import ScanCounts, ScanResult
    from forensics_core.readers.scan.rules import RuleMatch
    from forensics_core.storage.objects import Traffic

_MAX_SHOWN = 3
"""Matches of a rule in one file that a line shows."""
_NOUNS = {"memory": "core"}
"""What one of a kind is called where its word cannot be counted."""


@click.command("scan", short_help="Look for YARA rules and known hashes in a bundle.")
@click.argument("location")
@click.argument("rules", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--known",
    "known",
    multiple=True,
    metavar="HASHES",
    help="A list of hashes that says which files are known; repeatable. good=FILE or ioc=FILE "
    "where its form does not tell.",
)
@containers_option()
@click.option(
    "--files", "every_file", is_flag=True, help="Show every file, with what --known says of it."
)
@click.option(
    "--timeout",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long the rules may take for 32 MiB.",
)
@click.option("--fail-on-match", is_flag=True, help="End with exit code 1 if anything was found.")
@owner_option
@output_option
def scan_command(
    location: str,
    rules: tuple[Path, ...],
    known: tuple[str, ...],
    containers: tuple[str, ...],
    every_file: bool,
    timeout: int,
    fail_on_match: bool,
    expected_bucket_owner: str | None,
    output: str,
) -> None:
    """Scan the bundle at LOCATION with the YARA rules in the files RULES.

    Files, deleted files, memory, logs, command lines and environments are scanned as they are read:
    nothing is extracted. What is longer than 32 MiB is scanned in windows that overlap by 1 MiB.

    With --known files are compared with NSRL, an allow-list, or IOCs in CSV, STIX 2.1 or MISP; then
    rules are not needed, and with SHA-256 alone only indexes are read.

    The exit code is 0 with or without matches, 1 where the rules took too long for something, and 3
    where something that was read is not what the manifest says.
    """
    if not rules and not known:
        raise UsageError("There is nothing to look for", hint="Name files of rules, or --known")
    request = _ScanRequest(rules, known, containers, every_file, timeout)
    found = run(partial(_scan, location, expected_bucket_owner, request, output))
    if found and fail_on_match:
        raise click.exceptions.Exit(1)


@dataclass(frozen=True, slots=True)
class _ScanRequest:
    """What was asked for."""

    rules: tuple[Path, ...]
    known: tuple[str, ...]
    containers: tuple[str, ...]
    every_file: bool
    timeout: int


async def _scan(location: str, owner: str | None, request: _ScanRequest, output: str) -> int:
    """Print what is found; return how much."""
    from anyio import to_thread

    from forensics_core.readers.notes import Notes
    from forensics_core.readers.scan.known import HashReputation, read_known
    from forensics_core.readers.scan.scan import ScanTargets, scan
    from forensics_core.storage.objects import Traffic

    known = await to_thread.run_sync(read_known, request.known) if request.known else None
    wanted = ScanTargets(request.rules, known, request.every_file, request.timeout)
    notes, traffic = Notes(), Traffic() if output == "json" else None
    async with opened_bundle(location, owner, traffic) as bundle:
        printer = _JsonPrinter(bundle, traffic) if traffic is not None else _TextPrinter()
        names = list(dict.fromkeys(request.containers)) or bundle.containers
        counts = await scan(bundle, names, wanted, notes, printer.print_results)
    printer.end(counts, notes)
    if notes.not_genuine:
        raise click.exceptions.Exit(3)
    if counts.timed_out_total or counts.failed:
        raise click.exceptions.Exit(1)
    return counts.matches + counts.standings[HashReputation.IOC]


class _TextPrinter:
    """A line for each result; the rest goes to the standard error."""

    def print_results(self, results: Sequence[ScanResult]) -> None:
        """Print results."""
        sys.stdout.write("".join(f"{_line(result)}\n" for result in results))

    def end(self, counts: ScanCounts, notes: Notes) -> None:
        """Print what there is to say of them all."""
        for line in notes.missing:
            click.echo(f"Note: {clean_message(line)}", err=True)
        for name in counts.timed_out:
            click.echo(f"Not scanned to its end, the rules took too long: {clean(name)}", err=True)
        for line in _summary(counts):
            click.echo(line, err=True)


class _JsonPrinter:
    """One object, whose list of results is never held."""

    def __init__(self, bundle: BundleReader, traffic: Traffic) -> None:
        self._before = f'{{"location": {json.dumps(bundle.url)}, "results": [\n'
        self._bundle, self._traffic = bundle, traffic

    def print_results(self, results: Sequence[ScanResult]) -> None:
        """Print results."""
        for result in results:
            sys.stdout.write(self._before + json.dumps(result.as_json()))
            self._before = ",\n"

    def end(self, counts: ScanCounts, notes: Notes) -> None:
        """Print what there is to say of them all."""
        rest: dict[str, Any] = {
            **counts.as_json(),
            "missing": notes.missing,
            "genuine": not notes.not_genuine,
            "fetched": traffic_as_json(self._traffic, whole_size(self._bundle)),
        }
        begun = "" if self._before == ",\n" else self._before
        sys.stdout.write(f"{begun}\n], {json.dumps(rest)[1:]}\n")


def _line(result: ScanResult) -> str:
    """Return the line of a result: where, which rule, what was there."""
    subject = result.subject
    where = subject.artifact.removeprefix("containers/")
    where += f":{subject.path}" if subject.path else ""
    where += f" ({subject.kind})" if subject.kind in {"environment", "command line"} else ""
    standing = str(result.verdict.standing)
    label = f" {result.verdict.label}" if result.verdict.label else ""
    if result.found is None:
        return (
            f"{clean(where)}: {standing}{clean_message(label)} sha256:{result.sha256 or 'unknown'}"
        )
    known = f" [{standing}{label}]" if standing != "unknown" else ""
    return f"{clean(where)}: {clean_message(_matched(result.found))}{clean_message(known)}"


def _matched(found: RuleMatch) -> str:
    namespace, rule = found.name
    tags = f" ({', '.join(found.tags)})" if found.tags else ""
    places = [
        f'{hit.pattern} at {hit.offset:#x} "{hit.excerpt}"' for hit in found.hits[:_MAX_SHOWN]
    ]
    more = found.total - len(places)
    places += [f"{more} more"] if more else []
    return f"{namespace}.{rule}{tags}" + (f": {', '.join(places)}" if places else "")


def _summary(counts: ScanCounts) -> list[str]:
    kinds = sorted(counts.scanned)
    what = ", ".join(counted(counts.scanned[kind], _NOUNS.get(kind, kind)) for kind in kinds)
    found = "1 match" if counts.matches == 1 else f"{counts.matches:,} matches"
    lines = [f"{found}; scanned: {what or 'nothing'}, {size(counts.size)}"]
    if counts.windowed:
        lines.append(f"{counted(counts.windowed, 'long file')} scanned in windows")
    if counts.standings:
        said = (f"{number:,} {kind}" for kind, number in sorted(counts.standings.items()))
        lines.append(f"Files: {', '.join(said)}")
    return lines
