"""A report's first lines, in plain words. Each says what was seen, and where to look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from forensics_core._internal.text import printable
from forensics_core.readers.findings.finding import Rule, Severity
from forensics_core.readers.report.story import ContainerStory, Story

_RUNS = (Rule.RUNS_NOT_IN_IMAGE, Rule.RUNS_DELETED, Rule.RUNS_MEMFD)


def summary(story: Story) -> Iterator[str]:
    """Yield one sentence after the other."""
    yield _of_what(story)
    yield _severities(story)
    running = sum(story.findings.totals[c.name, rule] for c in story.containers for rule in _RUNS)
    if running:
        told = _counted(running, "process runs", "processes run")
        yield f"{told} a program that is not in the image."
    yield from (_changes(container) for container in story.containers if container.totals)
    yield _missing(story)
    yield _seal(story)
    if story.findings.not_looked_at:
        count = len(story.findings.not_looked_at)
        yield f"{_counted(count, 'source', 'sources')} could not be looked at: see below."


def _of_what(story: Story) -> str:
    capture, order = story.capture, story.capture.order
    pod = f"the pod {order.pod.namespace}/{order.pod.name}" if order.pod else "containers"
    names = ", ".join(printable(each.name, 80) for each in story.containers)
    when = f"{capture.started_at:%Y-%m-%d %H:%M:%S} UTC"
    incident = f" for incident {printable(order.incident, 80)}" if order.incident else ""
    return f"This is {printable(pod, 200)} ({names}), captured at {when}{incident}."


def _severities(story: Story) -> str:
    counts: Counter[Severity] = Counter()
    for (_, rule), count in story.findings.totals.items():
        counts[rule.severity] += count
    if not counts:
        return "No rule found anything: that does not prove that nothing is there."
    told = ", ".join(f"{counts[each]} {each.name.lower()}" for each in Severity if counts[each])
    return f"Findings: {told}."


def _changes(container: ContainerStory) -> str:
    names = (("A", "added"), ("C", "changed"), ("D", "deleted"))
    told = ", ".join(f"{container.totals[kind]:,} {word}" for kind, word in names)
    return f"Against its image, {printable(container.name, 80)} has {told}."


def _missing(story: Story) -> str:
    gaps = story.capture.not_captured
    if not gaps:
        return "Everything was captured: nothing is told as missing."
    asked = sum(gap.requested for gap in gaps)
    told = f"{_counted(len(gaps), 'thing is', 'things are')} not in the bundle"
    return f"{told}, {asked} of them asked for: each is listed below with its reason."


def _seal(story: Story) -> str:
    if story.sealed:
        return "A seal lies beside the manifest: 'forensics verify --key' checks it."
    return "The bundle has no seal: nobody vouches for it."


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
