"""What became of each trace in what a tool left behind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bench.recall.outputs import OutputStream, chunks
from lab.intruder.container import PlantedTrace
from lab.intruder.trace import WORD, Clue

MATCH_WINDOW = 400
"""Bytes before and behind an anchor in which `Clue.near` may match: a row, or a tar header."""
_OVERLAP = 4 * MATCH_WINDOW


class TraceOutcome(StrEnum):
    """What became of a trace, the best first."""

    BYTES = "bytes"
    NAME = "name only"
    REPORTED = "told as missing"
    SILENT = "silently missing"


@dataclass(frozen=True, slots=True)
class TraceVerdict:
    """What became of one trace."""

    planted: PlantedTrace
    outcome: TraceOutcome
    reported: bool
    """Whether the tool said that it does not have it, also where its name was found."""
    where: str = ""
    """The output in which it was found first."""


@dataclass(frozen=True, slots=True)
class GapRemark:
    """One line in which a tool says what it does not have."""

    text: str


@dataclass(slots=True)
class ClueSearch:
    """A search for the clues of many traces in many streams, each read once."""

    planted: Sequence[PlantedTrace]
    _found: dict[Clue, str] = field(default_factory=dict)
    _words: dict[bytes, list[Clue]] = field(default_factory=dict)
    _others: dict[bytes, list[Clue]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.planted:
            for clue in (*each.content, *each.known):
                anchor = clue.anchor.encode("latin-1")
                start = WORD.search(anchor)
                if start:
                    self._words.setdefault(start[0], []).append(clue)
                else:
                    self._others.setdefault(anchor, []).append(clue)

    def read(self, name: str, source: OutputStream) -> None:
        """Look through one stream."""
        for block in chunks(source, _OVERLAP):
            for word in WORD.finditer(block):
                for clue in self._words.get(word[0], ()):
                    self._judge(clue, block, word.start(), name)
            for anchor, clues in self._others.items():
                for start in _occurrences(anchor, block):
                    for clue in clues:
                        self._judge(clue, block, start, name)

    def _judge(self, clue: Clue, block: bytes, start: int, name: str) -> None:
        if clue in self._found:
            return
        around = block[max(0, start - MATCH_WINDOW) : start + MATCH_WINDOW]
        if clue.anchor.encode("latin-1") in around and _matches(clue, around):
            self._found[clue] = name

    def where(self, clues: Iterable[Clue]) -> str:
        """Return the first output in which one of them is; empty if none is anywhere."""
        return next((self._found[clue] for clue in clues if clue in self._found), "")


def _matches(clue: Clue, around: bytes) -> bool:
    return not clue.near or re.search(clue.near.encode("latin-1"), around) is not None


def _occurrences(anchor: bytes, block: bytes) -> Iterator[int]:
    """Yield where an anchor stands by itself: digits are no part of longer ones."""
    start = block.find(anchor)
    while start >= 0:
        before, after = block[start - 1 : start], block[start + len(anchor) :][:1]
        if not (before.isalnum() or after.isalnum()):
            yield start
        start = block.find(anchor, start + 1)


def judge(
    planted: Sequence[PlantedTrace],
    outputs: Iterable[tuple[str, OutputStream]],
    remarks: Iterable[GapRemark],
) -> list[TraceVerdict]:
    """Return what became of each trace, in order.

    `outputs` are read once; `remarks` are what the tool says that it does not have.
    """
    search = ClueSearch(planted)
    for name, source in outputs:
        search.read(name, source)
    said = [remark.text for remark in remarks]
    return [_verdict(each, search, said) for each in planted]


def _verdict(planted: PlantedTrace, search: ClueSearch, said: Sequence[str]) -> TraceVerdict:
    told = any(_tells(text, planted) for text in said)
    if where := search.where(planted.content):
        return TraceVerdict(planted, TraceOutcome.BYTES, told, where)
    if where := search.where(planted.known):
        return TraceVerdict(planted, TraceOutcome.NAME, told, where)
    return TraceVerdict(planted, TraceOutcome.REPORTED if told else TraceOutcome.SILENT, told)


def _tells(text: str, planted: PlantedTrace) -> bool:
    named = (clue.anchor for clue in (*planted.content, *planted.known))
    if any(anchor in text for anchor in named):
        return True
    return bool(planted.gap and re.search(planted.gap, text, re.IGNORECASE | re.DOTALL))


def count(verdicts: Iterable[TraceVerdict]) -> Mapping[TraceOutcome, int]:
    """Return how many traces ended how."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return {outcome: outcomes.count(outcome) for outcome in TraceOutcome}
