"""A report's first lines, in plain words. Each says what was seen, and where to look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from forensics_core._internal.text import printable
from forensics_core.readers.clocks import disagreement
from forensics_core.readers.findings.finding import Rule, Severity
from forensics_core.readers.report.content import ContainerReport, ReportContent

_RUNS = (Rule.RUNS_NOT_IN_IMAGE, Rule.RUNS_DELETED, Rule.RUNS_MEMFD)
_NAMED = 3
"""How many of several things a sentence names."""
_NONE = "No rule found anything: that does not prove that nothing is there."


def summary(story: ReportContent) -> Iterator[str]:
    """Yield one sentence after the other."""
    yield _of_what(story)
    yield seal_state(story)
    if story.findings.not_genuine:
        yield "Something is not what the manifest says: do not rely on what is named as such below."
    if told := disagreement(story.capture.clocks):
        yield (
            f"{told}: times that the node gave are told as its clock had them, and those of the "
            "cluster's events are moved to it."
        )
    yield _severities(story)
    yield from _runs(story)
    yield from _connections_line(story)
    for container in story.containers:
        yield from _changes(container)
    yield _missing(story)
    if story.findings.not_looked_at:
        count = len(story.findings.not_looked_at)
        yield f"{counted(count, 'source', 'sources')} could not be looked at: see below."


def _of_what(story: ReportContent) -> str:
    capture, order = story.capture, story.capture.order
    names = ", ".join(printable(each.name, 80) for each in story.containers[:20])
    more = f" and {len(story.containers) - 20} more" if len(story.containers) > 20 else ""
    when = f"{capture.started_at:%Y-%m-%d %H:%M:%S} UTC"
    incident = f" for incident {printable(order.incident, 80)}" if order.incident else ""
    of_what = f"the containers {names}{more}" if len(story.containers) > 1 else names
    if order.pod:
        pod = printable(f"{order.pod.namespace}/{order.pod.name}", 200)
        of_what = f"the pod {pod} ({names}{more})"
    return f"This is {of_what}, captured at {when}{incident}."


def _severities(story: ReportContent) -> str:
    counts: Counter[Severity] = Counter()
    for (_, rule), count in story.findings.totals.items():
        counts[rule.severity] += count
    if not counts:
        return _NONE
    told = ", ".join(f"{counts[each]} {each.name.lower()}" for each in Severity if counts[each])
    return f"Findings: {told}."


def _runs(story: ReportContent) -> Iterator[str]:
    total = sum(story.findings.totals[c.name, rule] for c in story.containers for rule in _RUNS)
    if total:
        # A process is told once of each, however it came to be there.
        found = [each for each in story.findings.findings if each.rule in _RUNS]
        told = counted(total, "process runs", "processes run")
        which = _named([each.subject for each in found])
        yield f"{told} a program that is not in the image, or has no file any more: {which}."


def _connections_line(story: ReportContent) -> Iterator[str]:
    found = [each for each in story.findings.findings if each.rule is Rule.OUTGOING]
    total = sum(
        count for (_, rule), count in story.findings.totals.items() if rule is Rule.OUTGOING
    )
    if found:
        ends = list(dict.fromkeys(each.detail.removeprefix("to ") for each in found))
        told = counted(total, "connection goes", "connections go")
        yield f"{told} out to public addresses: {_named(ends)}."


def _changes(container: ContainerReport) -> Iterator[str]:
    totals, name = container.changes.totals, printable(container.name, 80)
    if not totals:
        return
    names = (("A", "added"), ("C", "changed"), ("D", "deleted"))
    told = ", ".join(f"{totals[kind]:,} {word}" for kind, word in names)
    gone = f" Of the image it lacks {_named(container.changes.deleted, totals['D'])}."
    yield f"Against its image, {name} has {told}.{gone if totals['D'] else ''}"


def _missing(story: ReportContent) -> str:
    gaps = story.capture.not_captured
    if not gaps:
        return "Everything was captured: nothing is told as missing."
    asked = sum(gap.requested for gap in gaps)
    told = f"{counted(len(gaps), 'thing is', 'things are')} not in the bundle"
    why = ", ".join(
        f"{printable(reason, 40)} {count:,}"
        for reason, count in Counter(gap.reason for gap in gaps).most_common(_NAMED)
    )
    return f"{told}, {asked} of them asked for: each is listed below with its reason ({why})."


def seal_state(story: ReportContent) -> str:
    """Return what is known of the seal."""
    if story.seal_problem:
        return f"The seal does not hold: {printable(story.seal_problem, 500)}."
    if story.seal_checked:
        return "The seal holds for the key that was given: the manifest is what was sealed."
    if story.sealed:
        return "A seal lies beside the manifest, and was not checked: 'report --key' checks it."
    return "The bundle has no seal: nobody vouches for it."


def counted(number: int, one: str, many: str) -> str:
    """Return a number with the word for what is counted."""
    return f"{number:,} {one if number == 1 else many}"


def _named(names: list[str], total: int | None = None) -> str:
    """Return the first of some names, and how many more there are."""
    total = len(names) if total is None else total
    told = ", ".join(printable(name, 120) for name in names[:_NAMED])
    return f"{told} and {total - _NAMED:,} more" if total > _NAMED else told
