"""Findings as HTML: by rule, those to look at first in front, with the evidence one click away."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from html import escape
from itertools import groupby

from forensics_core._internal.text import printable
from forensics_core.readers.findings.finding import Finding, Rule
from forensics_core.readers.report.content import ReportContent
from forensics_core.readers.report.summary import counted

_MAX_FINDINGS = 100
"""Findings of one rule that a page has; `report -o json` has more."""
_OPEN = 10
"""So many of one rule are shown without a click."""


def safe(value: str) -> str:
    """Return text of anybody as HTML: on one line, nothing invisible, no markup."""
    return escape(printable(value, 4096))


def cards(story: ReportContent) -> Iterator[str]:
    """Yield all findings."""
    findings = story.findings
    numbers = {name: number for number, name in enumerate(c.name for c in story.containers)}
    if not findings.findings:
        yield "<p>No rule found anything. That does not prove that nothing is there.</p>"
    for rule, found in groupby(findings.findings, lambda finding: finding.rule):
        total = sum(count for (_, one), count in findings.totals.items() if one is rule)
        yield from _rule(rule, list(found), total, numbers)
    for line in findings.not_looked_at:
        yield f"<p class=warning>Not looked at: {safe(line)}</p>"


def _rule(rule: Rule, found: list[Finding], total: int, numbers: dict[str, int]) -> Iterator[str]:
    severity = rule.severity.name.lower()
    opened = " open" if len(found) <= _OPEN else ""
    yield f"<details class=rule{opened}><summary><span class='badge {severity}'>{severity}</span> "
    yield f"<strong>{safe(rule.summary)}</strong> ({total:,})</summary>"
    yield f"<p class=facts>Rule <code>{safe(rule)}</code>, ATT&amp;CK "
    yield f'<a href="{rule.url}" rel="noreferrer noopener">{rule.attack}</a></p><ul>'
    for finding in found[:_MAX_FINDINGS]:
        yield _finding(finding, numbers.get(finding.container, -1))
    yield "</ul>"
    if total > _MAX_FINDINGS:
        rest = counted(total - len(found[:_MAX_FINDINGS]), "is", "are")
        yield f"<p class=warning>{rest} not shown here: see the lists below.</p>"
    yield "</details>\n"


def _finding(finding: Finding, number: int) -> str:
    where = f" in {safe(finding.container)}" if finding.container else " on the node"
    return (
        f"<li class=finding><details><summary><code>{safe(finding.subject)}</code>{where}</summary>"
        f"<p>{safe(finding.detail)}</p><p class=facts>In <code>{safe(finding.artifact)}</code>. "
        f"{_command(finding)}</p>{_button(finding, number)}</details></li>\n"
    )


def _command(finding: Finding) -> str:
    if not finding.path:
        return ""
    place = shlex.quote(f"{finding.container}:{finding.path}")
    return f"<code>{safe(f'forensics cat LOCATION {place}')}</code>"


def _button(finding: Finding, number: int) -> str:
    """Return what leads to the evidence within the page."""
    if finding.path:
        shown = f"data-path='{safe(printable(finding.path, 1024))}'"
        word = "Show it among the changes"
    elif finding.pid:
        shown, word = f"data-pid={finding.pid:d}", "Show the process"
    else:
        return ""
    return f"<button type=button data-container={number} {shown}>{word}</button>"
