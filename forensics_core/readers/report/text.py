"""A report as Markdown, and as JSON for programs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from forensics_core._internal.text import printable
from forensics_core.readers.findings.finding import Finding
from forensics_core.readers.report.content import ReportContent
from forensics_core.readers.report.summary import summary
from forensics_core.readers.report.surroundings import Surroundings

_KINDS = {"A": "added", "C": "changed", "D": "deleted"}
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&-])")


def markdown(story: ReportContent) -> str:
    """Return the report as Markdown; nothing in it is markup that a container chose."""
    return "\n".join(_lines(story)) + "\n"


def _lines(story: ReportContent) -> Iterator[str]:
    yield "# Report\n"
    for sentence in summary(story):
        yield f"- {plain(sentence)}"
    yield f"\nBundle: {plain(story.location)}  \nManifest: sha256:{story.manifest_sha256}\n"
    yield "## Findings\n"
    found = [
        [
            *(each.rule.severity.name, each.rule.summary, each.container, each.subject),
            *(each.detail, each.rule.attack, each.artifact),
        ]
        for each in story.findings.findings
    ]
    yield from markdown_table(
        ["Severity", "Seen", "Container", "What", "Detail", "ATT&CK", "Evidence"], found
    )
    if story.findings.not_looked_at:
        yield "\n## Not looked at\n"
        yield from (f"- {plain(line)}" for line in story.findings.not_looked_at)
    yield "\n## Not captured\n"
    gaps = [[g.container or "", g.what, g.reason, g.message] for g in story.capture.not_captured]
    yield from markdown_table(["Container", "What", "Reason", "Message"], gaps)
    yield from _surroundings(story)


def _surroundings(story: ReportContent) -> Iterator[str]:
    found = story.surroundings
    groups = (
        ("Rights that lead further", found.powerful),
        ("Secrets that the pod has", found.secrets),
        ("On its node the pod has", found.pod),
        ("Network policies", found.policies),
        ("What runs the same image", found.siblings),
        ("The node says", story.node.lines),
    )
    for heading, lines in groups:
        if lines:
            yield f"\n## {heading}\n"
            yield from (f"- {plain(line)}" for line in lines)


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, its cells made fit by `plain`."""
    if not body:
        yield "None."
        return
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in body:
        yield "| " + " | ".join(plain(cell) for cell in row) + " |"


def plain(text: str) -> str:
    """Return text of anybody as Markdown: on one line, nothing invisible, no markup."""
    return _MARKUP.sub(r"\\\1", printable(text, 2000))


def as_json(story: ReportContent) -> dict[str, Any]:
    """Return the findings and what is missing, for programs."""
    return {
        "location": story.location,
        "manifestSha256": story.manifest_sha256,
        "sealed": story.sealed,
        "seal": _seal(story),
        "summary": list(summary(story)),
        "findings": [_finding(each) for each in story.findings.findings],
        "totals": [
            {"container": container, "rule": rule, "count": count}
            for (container, rule), count in sorted(story.findings.totals.items())
        ],
        "notLookedAt": story.findings.not_looked_at,
        "notCaptured": [
            gap.model_dump(mode="json", by_alias=True) for gap in story.capture.not_captured
        ],
        "changes": {
            each.name: {kind: each.changes.totals[key] for key, kind in _KINDS.items()}
            for each in story.containers
        },
        "surroundings": _around(story.surroundings),
        "node": story.node.lines,
    }


def _seal(story: ReportContent) -> str:
    if story.seal_checked:
        return "invalid" if story.seal_problem else "valid"
    return "unchecked" if story.sealed else "absent"


def _around(found: Surroundings) -> dict[str, Any]:
    return {
        "serviceAccount": found.account,
        "rights": found.rights,
        "powerfulRights": found.powerful,
        "secrets": found.secrets,
        "networkPolicies": found.policies,
        "services": found.services,
        "nodeAccess": found.pod,
        "volumeClaims": found.storage,
        "sameImage": found.siblings,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.rule.severity.name.lower(),
        "attack": finding.rule.attack,
        "summary": finding.rule.summary,
        "container": finding.container,
        "subject": finding.subject,
        "detail": finding.detail,
        "artifact": finding.artifact,
        **({"path": finding.path} if finding.path else {}),
        **({"pid": finding.pid} if finding.pid else {}),
    }
