"""What all bundles of an incident tell together: a row each, and findings by rule over all of them.

Of each bundle little is kept, so that a hundred of them are read one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from forensics_core._internal.text import printable
from forensics_core.readers.findings.finding import Rule, Severity
from forensics_core.readers.report.content import ReportContent
from forensics_core.readers.report.summary import counted, seal_state
from forensics_core.readers.report.text import markdown_table, plain

SUBJECTS = 5
"""Of the findings of one rule in one pod: those whose subject is named."""


@dataclass(slots=True)
class PodReport:
    """One pod of the incident, and what its bundle tells."""

    pod: str
    """`namespace/name`."""
    state: str
    """The phase of its checkpoint, and why where it failed or is partial."""
    location: str = ""
    """Of the bundle; empty where there is none."""
    link: str = ""
    """The file of its own report, as seen from this one; empty where there is none."""
    seal: str = ""
    """What is known of the seal, in a sentence."""
    captured: str = ""
    """When, in UTC."""
    counts: Counter[Rule] = field(default_factory=Counter)
    """Findings by rule."""
    subjects: dict[Rule, list[str]] = field(default_factory=dict)
    """What the first of each rule are about."""
    gaps: int = 0
    """Things that are missing though they were asked for."""
    problem: str = ""
    """Why the bundle cannot be read; empty where it can."""
    not_genuine: bool = False
    """Whether something is not what the manifest, or the seal, says."""

    def read(self, story: ReportContent) -> None:
        """Keep what matters of the bundle's story."""
        self.seal = seal_state(story)
        self.captured = f"{story.capture.started_at:%Y-%m-%d %H:%M:%S}"
        for (_, rule), count in story.findings.totals.items():
            self.counts[rule] += count
        for finding in story.findings.findings:
            named = self.subjects.setdefault(finding.rule, [])
            if len(named) < SUBJECTS:
                named.append(printable(finding.subject, 200))
        self.gaps = sum(gap.requested for gap in story.capture.not_captured)
        self.not_genuine = story.not_genuine

    @property
    def severities(self) -> str:
        """How many findings there are, by severity: `2 high, 1 low`."""
        counts: Counter[Severity] = Counter()
        for rule, count in self.counts.items():
            counts[rule.severity] += count
        return ", ".join(f"{counts[each]} {each.name.lower()}" for each in Severity if counts[each])


class IncidentRow(NamedTuple):
    """A row of a table, and the pod that it is about."""

    pod: PodReport
    cells: tuple[str, ...]


@dataclass(slots=True)
class IncidentContent:
    """All pods of an incident."""

    incident: str
    pods: list[PodReport]

    @property
    def not_genuine(self) -> bool:
        """Whether something of any bundle is not what its manifest, or its seal, says."""
        return any(pod.not_genuine for pod in self.pods)

    @property
    def unread(self) -> list[PodReport]:
        """The pods whose bundle there is, and cannot be read."""
        return [pod for pod in self.pods if pod.problem]

    def rules(self) -> list[tuple[Rule, list[PodReport]]]:
        """Return the rules that found something, each with its pods; those to look at first."""
        found: dict[Rule, list[PodReport]] = {}
        for pod in self.pods:
            for rule in pod.counts:
                found.setdefault(rule, []).append(pod)
        return sorted(found.items(), key=lambda each: (each[0].severity, -len(each[1]), each[0]))

    def summary(self) -> Iterator[str]:
        """Yield the first lines, in plain words."""
        told = counted(len(self.pods), "pod", "pods")
        bundles = [pod for pod in self.pods if pod.location]
        yield f"The incident {self.incident} has {told}; of {len(bundles)} there is evidence."
        if self.not_genuine:
            yield "Something is not what a manifest says: see the pods that are marked."
        if self.unread:
            yield f"{counted(len(self.unread), 'bundle', 'bundles')} could not be read: see below."
        rules = self.rules()
        pods = {pod.pod for _, found in rules for pod in found}
        if rules:
            yield f"Rules found something in {counted(len(pods), 'pod', 'pods')}."
        elif len(self.unread) < len(bundles):
            yield "No rule found anything: that does not prove that nothing is there."
        else:
            yield "There is nothing yet that rules could have looked at."

    def finding_rows(self) -> Iterator[IncidentRow]:
        """Yield a row for each rule and pod: severity, what, pod, how often, what about."""
        for rule, pods in self.rules():
            for pod in pods:
                about = ", ".join(pod.subjects.get(rule, ()))
                severity = rule.severity.name.lower()
                cells = (severity, rule.summary, pod.pod, str(pod.counts[rule]), about)
                yield IncidentRow(pod, (*cells, rule.attack))

    def pod_rows(self) -> Iterator[IncidentRow]:
        """Yield a row for each pod: its state, when, findings, gaps, seal, bundle."""
        for pod in self.pods:
            marked = f"{pod.state} (not genuine)" if pod.not_genuine else pod.state
            cells = (pod.pod, marked, pod.captured, pod.severities, str(pod.gaps or ""))
            yield IncidentRow(pod, (*cells, pod.problem or pod.seal, pod.location))


FINDING_COLUMNS = ("Severity", "Seen", "Pod", "Count", "What", "ATT&CK")
POD_COLUMNS = ("Pod", "State", "Captured, UTC", "Findings", "Missing", "Seal", "Bundle")


def incident_markdown(report: IncidentContent) -> str:
    """Return the report as Markdown; nothing in it is markup that a container chose."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: IncidentContent) -> Iterator[str]:
    yield f"# Incident {plain(report.incident)}\n"
    yield from (f"- {plain(sentence)}" for sentence in report.summary())
    yield "\n## Pods\n"
    yield from markdown_table(POD_COLUMNS, [row.cells for row in report.pod_rows()])
    yield "\n## Findings\n"
    yield from markdown_table(FINDING_COLUMNS, [row.cells for row in report.finding_rows()])


def incident_json(report: IncidentContent) -> dict[str, Any]:
    """Return the report for programs."""
    return {
        "incident": report.incident,
        "summary": list(report.summary()),
        "pods": [_pod(pod) for pod in report.pods],
        "findings": [
            {
                "rule": rule,
                "severity": rule.severity.name.lower(),
                "attack": rule.attack,
                "summary": rule.summary,
                "pods": [_found(pod, rule) for pod in pods],
            }
            for rule, pods in report.rules()
        ],
    }


def _found(pod: PodReport, rule: Rule) -> dict[str, Any]:
    subjects: Sequence[str] = pod.subjects.get(rule, ())
    return {"pod": pod.pod, "count": pod.counts[rule], "subjects": list(subjects)}


def _pod(pod: PodReport) -> dict[str, Any]:
    return {
        "pod": pod.pod,
        "state": pod.state,
        "location": pod.location,
        "captured": pod.captured,
        "seal": pod.seal,
        "findings": sum(pod.counts.values()),
        "missing": pod.gaps,
        "notGenuine": pod.not_genuine,
        **({"problem": pod.problem} if pod.problem else {}),
    }
