"""The outcomes as Markdown, for the markers of `docs/recall.md`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.page import table
from bench.recall.contestants import CONTESTANTS, Contestant
from bench.recall.findings import page_part
from bench.recall.judge import TraceOutcome, TraceVerdict, count
from bench.recall.measure import Round
from lab.images import MiB

MISSING = "**silent**"
_WORDS = {
    TraceOutcome.BYTES: "bytes",
    TraceOutcome.NAME: "name",
    TraceOutcome.REPORTED: "told",
    TraceOutcome.SILENT: MISSING,
}


def parts(rounds: Sequence[Round], setting: str) -> dict[str, str]:
    """Return what goes between the markers, by their names."""
    return {
        "recall-setting": setting,
        "recall-sum": table(("tool", "runtime", *TraceOutcome, "s", "MiB"), _sums(rounds)),
        "recall-traces": _traces(rounds),
        "recall-failed": _failures(rounds),
        "recall-findings": page_part([(one.runtime, one.titles, one.seen) for one in rounds]),
    }


def _sums(rounds: Sequence[Round]) -> Iterator[list[str]]:
    for contestant in CONTESTANTS:
        for found in rounds:
            if verdicts := found.verdicts.get(contestant.name):
                counts = count(verdicts)
                cells = [str(counts[outcome]) for outcome in TraceOutcome]
                seconds, size = found.seconds[contestant.name], found.size[contestant.name]
                cost = [f"{seconds:.1f}", f"{size / MiB:.1f}"]
                yield [contestant.title, found.runtime, *cells, *cost]


def _traces(rounds: Sequence[Round]) -> str:
    shown = [each for each in CONTESTANTS if any(each.name in found.verdicts for found in rounds)]
    titles = {
        verdict.planted.trace.title: verdict.planted.trace.group
        for found in rounds
        for verdicts in found.verdicts.values()
        for verdict in verdicts
    }
    groups = dict.fromkeys(titles.values())
    rows = (
        [title, *(_cell(each, title, rounds) for each in shown)]
        for group in groups
        for title in (f"**{group}**", *(t for t, of in titles.items() if of == group))
    )
    return table(("trace", *(each.title for each in shown)), rows)


def _cell(contestant: Contestant, title: str, rounds: Sequence[Round]) -> str:
    """Return one outcome, or one for each runtime where they differ."""
    said = dict[str, str]()
    for found in rounds:
        for verdict in found.verdicts.get(contestant.name, ()):
            if verdict.planted.trace.title == title:
                said[found.runtime] = _word(verdict)
    if len(set(said.values())) > 1:
        return ", ".join(f"{word} ({runtime})" for runtime, word in said.items())
    return next(iter(said.values()), "")


def _word(verdict: TraceVerdict) -> str:
    told = verdict.reported and verdict.outcome is TraceOutcome.NAME
    return _WORDS[verdict.outcome] + (", told" if told else "")


def _failures(rounds: Sequence[Round]) -> str:
    """Return who could not run, and what could not be planted."""
    titles = {each.name: each.title for each in CONTESTANTS}
    lines = [
        *(
            f"- {titles[name]} on {found.runtime}: {why}"
            for found in rounds
            for name, why in found.failed.items()
        ),
        *(
            f"- not planted on {found.runtime}: {title}: {why}"
            for found in rounds
            for title, why in found.refused.items()
        ),
    ]
    return "\n".join(lines) or "Everything ran, and every trace could be planted."
