"""Lists of hashes: what is known to be good, and what is known to be bad.

A list says by its form which of both it is; `good=FILE` and `ioc=FILE` say it for any form.

| form | is |
|---|---|
| NSRL's reference data set in CSV: `SHA-1`, `MD5`, `ProductCode` ... | good |
| one hash a line, `sha256sum` or `md5sum` | good |
| any other CSV with hashes | ioc |
| STIX 2.1: indicators with `file:hashes` | ioc |
| MISP: an event's attributes | ioc |

Sources: https://www.nist.gov/itl/ssd/software-quality-group/national-software-reference-library-nsrl
https://docs.oasis-open.org/cti/stix/v2.1/ https://www.misp-project.org/datamodels/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from forensics_core.errors import UsageError
from forensics_core.readers.digests import DigestTable
from forensics_core.readers.scan.hashlists import HashEntry, HashReputation, read_list

MAX_HASHES = 8_000_000
"""Of all lists together: what fits into some 70 MiB."""
MAX_LABELS = 50_000
"""Hashes whose lists say what they are of, and of which that is kept."""

__all__ = ["HashReputation", "KnownHashes", "read_known"]


@dataclass(frozen=True, slots=True)
class HashVerdict:
    """What the lists say of one file."""

    standing: HashReputation
    label: str = ""
    """What a list calls it, where that is kept. Hostile: escape it where it is shown."""


NOT_KNOWN = HashVerdict(HashReputation.UNKNOWN)
"""Of a file that is in no list."""


class KnownHashes:
    """All lists, read; `most` hashes of them."""

    def __init__(self, most: int = MAX_HASHES) -> None:
        self._most = most
        self._tables: dict[tuple[HashReputation, str], DigestTable] = {}
        self._labels: dict[str, str] = {}
        self.total = 0
        """Different hashes."""

    def add(self, standing: HashReputation, entry: HashEntry) -> None:
        """Add a hash. Raises `UsageError` where there are too many."""
        table = self._tables.get((standing, entry.algorithm))
        if table is None:
            table = self._tables[standing, entry.algorithm] = DigestTable()
        if not table.add(bytes.fromhex(entry.digest)):
            return
        self.total += 1
        if self.total > self._most:
            raise UsageError(
                f"The lists have more than {self._most:,} hashes",
                hint="Give them one after the other, or take out what the image cannot have",
            )
        if entry.label and standing is HashReputation.IOC and len(self._labels) < MAX_LABELS:
            self._labels[entry.digest] = entry.label[:200]

    @property
    def algorithms(self) -> set[str]:
        """The hashes that a file has to have for all lists: of `sha256`, `sha1`, `md5`."""
        return {algorithm for _, algorithm in self._tables}

    def verdict(self, digests: Mapping[str, str]) -> HashVerdict:
        """Return what the lists say of a file with these hashes, in hexadecimal, by algorithm.

        A file in lists of both kinds is an IOC.
        """
        for standing in (HashReputation.IOC, HashReputation.GOOD):
            for algorithm, digest in digests.items():
                table = self._tables.get((standing, algorithm))
                if table and digest and bytes.fromhex(digest) in table:
                    return HashVerdict(standing, self._labels.get(digest, ""))
        return NOT_KNOWN


def read_known(lists: Iterable[str], most: int = MAX_HASHES) -> KnownHashes:
    """Read lists, each a path, or `good=PATH` or `ioc=PATH`.

    Raises `UsageError` for one that has no hashes, or that nobody can tell the form of.
    """
    known = KnownHashes(most)
    for given in lists:
        word, _, path = given.rpartition("=") if given.startswith(("good=", "ioc=")) else ("",) * 3
        forced = {"good": HashReputation.GOOD, "ioc": HashReputation.IOC}.get(word)
        empty = True
        for standing, entry in read_list(Path(path or given)):
            known.add(forced or standing, entry)
            empty = False
        if empty:
            raise UsageError(
                f"{path or given} has no hashes",
                hint="Hashes are MD5, SHA-1 or SHA-256 in hexadecimal",
            )
    return known
