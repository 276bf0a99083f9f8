"""The forms that lists of hashes come in: see `known`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from forensics_core._internal import strict_json
from forensics_core.errors import UsageError

MAX_DOCUMENT = 16 * 1024 * 1024
"""Bytes of a list in JSON, which takes several times as much memory to read."""
MAX_LINE = 64 * 1024
"""Characters of a line."""
_LENGTHS = {64: "sha256", 40: "sha1", 32: "md5"}
_HEX = re.compile(r"[0-9a-fA-F]+")
_PLAIN = re.compile(r"\\?([0-9a-fA-F]{64}|[0-9a-fA-F]{40}|[0-9a-fA-F]{32})(?:\s+\*?(.*))?")
_STIX = re.compile(
    r"file:hashes\.(?:'(?:MD5|SHA-1|SHA-256)'|MD5|SHA1|SHA256)\s*=\s*'([0-9a-fA-F]+)'"
)
_UNSPECIFIC = frozenset({"hash", "filehash", "value", "indicator", "ioc", "iocvalue"})
"""Columns that hold a hash, or something else."""
_LABELS = frozenset(
    {"name", "filename", "signature", "family", "malware", "description", "comment", "label"}
)
_NSRL = frozenset({"crc32", "productcode", "opsystemcode", "specialcode", "packageid"})
"""Columns that only NSRL has."""


class HashReputation(StrEnum):
    """Which kind of list a hash is in."""

    GOOD = "known good"
    IOC = "ioc"
    UNKNOWN = "unknown"


class HashEntry(NamedTuple):
    """One hash of a list."""

    algorithm: str
    """`sha256`, `sha1` or `md5`."""
    digest: str
    """In lower hexadecimal."""
    label: str
    """What the list calls it."""


ListedHashes = Iterator[tuple[HashReputation, HashEntry]]


def read_list(path: Path) -> ListedHashes:
    """Yield the hashes of one file.

    Raises `UsageError` where nobody can tell its form.
    """
    with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        lines = _lines(file)
        first = next(lines, "")
        if first.lstrip().startswith(("{", "[")):
            yield from _of_document(path)
        elif _PLAIN.fullmatch(first.strip()):
            yield from _of_lines(chain([first], lines))
        elif "," in first or ";" in first or "\t" in first:
            try:
                yield from _of_table(first, lines)
            except csv.Error as error:
                raise _unknown(path, str(error)) from error
        else:
            raise _unknown(path, f"it begins with {first[:80]!r}")


def _unknown(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} is not a list of hashes of a known form: {why}",
        hint="Give NSRL's CSV, any CSV with hashes, one hash a line, STIX 2.1 or MISP",
    )


def _lines(file: TextIO) -> Iterator[str]:
    """Yield the lines that are no comments."""
    while line := file.readline(MAX_LINE):
        if line.strip() and not line.startswith("#"):
            yield line


def _of_lines(lines: Iterable[str]) -> ListedHashes:
    for line in lines:
        if found := _PLAIN.fullmatch(line.strip()):
            yield HashReputation.GOOD, _entry(found[1], found[2] or "")


def _of_table(first: str, lines: Iterator[str]) -> ListedHashes:
    separator = next(mark for mark in ",;\t" if mark in first)
    rows = csv.reader(chain([first], lines), delimiter=separator, skipinitialspace=True)
    head = next(rows)
    names = [re.sub("[^a-z0-9]", "", name.lower()) for name in head]
    columns = [number for number, name in enumerate(names) if _algorithm_of(name)]
    columns.sort(key=lambda number: _ORDER.index(_algorithm_of(names[number])))
    labels = [number for number, name in enumerate(names) if name in _LABELS]
    standing = HashReputation.GOOD if _NSRL & {*names} else HashReputation.IOC
    headless = not columns
    for row in chain([head] if headless else [], rows):
        entry = _strongest(row, range(len(row)) if headless else columns)
        if entry:
            label = next((row[number] for number in labels if number < len(row)), "")
            yield standing, entry._replace(label=label)


_ORDER = ("sha256", "sha1", "md5", "any")


def _algorithm_of(column: str) -> str:
    name = column.removesuffix("hash").removeprefix("file").removeprefix("hash")
    if name in {"sha256", "sha1", "md5"}:
        return name
    return "any" if column in _UNSPECIFIC else ""


def _strongest(row: list[str], columns: Iterable[int]) -> HashEntry | None:
    """Return the longest hash that is in these columns."""
    cells = (row[number].strip().strip("\"'") for number in columns if number < len(row))
    hashes = [cell for cell in cells if len(cell) in _LENGTHS and _HEX.fullmatch(cell)]
    return _entry(max(hashes, key=len), "") if hashes else None


def _entry(digest: str, label: str) -> HashEntry:
    return HashEntry(_LENGTHS[len(digest)], digest.lower(), label)


def _of_document(path: Path) -> ListedHashes:
    with path.open("rb") as file:
        data = file.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise UsageError(
            f"{path} has more than {MAX_DOCUMENT} bytes of JSON",
            hint="Split it, or make it one hash a line and give it as ioc=FILE",
        )
    try:
        document = strict_json.loads_document(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}", hint="Export the list again") from error
    for digest, label in chain(_stix(document), _misp(document)):
        if len(digest) in _LENGTHS and _HEX.fullmatch(digest):
            yield HashReputation.IOC, _entry(digest, label)


def _stix(document: Any) -> Iterator[tuple[str, str]]:
    for each in _objects(document, "objects"):
        pattern = each.get("pattern")
        if each.get("type") == "indicator" and not each.get("revoked") and _is_text(pattern):
            for found in _STIX.finditer(str(pattern)):
                yield found[1], _text(each.get("name"))


def _misp(document: Any) -> Iterator[tuple[str, str]]:
    """Yield from an event, or from what a search answers."""
    responses = _objects(document, "response") if isinstance(document, dict) else []
    several = document if isinstance(document, list) else [document, *responses]
    for each in several:
        event = each.get("Event", each) if isinstance(each, dict) else None
        groups = [event, *_objects(event, "Object")]
        for attribute in chain.from_iterable(_objects(one, "Attribute") for one in groups):
            yield from _attribute(attribute, _text(event.get("info")) if event else "")


def _attribute(attribute: dict[str, Any], event: str) -> Iterator[tuple[str, str]]:
    """Yield the hash of an attribute that is meant for detection."""
    kind, value = _text(attribute.get("type")), _text(attribute.get("value"))
    wanted = attribute.get("to_ids", True) not in {False, "0"} and not attribute.get("deleted")
    if wanted and kind.rpartition("|")[2] in {"md5", "sha1", "sha256"}:
        name, _, digest = value.rpartition("|")
        yield digest.strip(), _text(attribute.get("comment")) or name or event


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    found = value.get(name) if isinstance(value, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
