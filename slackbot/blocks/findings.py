"""The findings that the operator tells of a checkpoint, as lines of a message.

What a rule saw is the container's word: it goes into spans of plain text only, where nothing is
markup, and `phrase` and `span` clean it.
"""

from __future__ import annotations

from forensics_core.api.findings import FIRST, FindingsStatus, FindingStatus
from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.elements import span
from slackbot.blocks.limits import Blocks
from slackbot.catalogue import phrase, rule_title


def finding_lines(checkpoint: PodCheckpoint, language: str) -> list[Blocks]:
    """Return the counts and the first findings, a line each; none where nobody looked."""
    found = checkpoint.status.findings
    if found is None:
        return []
    title, *first = _sentences(found, language)
    return [[span(title, bold=True)], *([span(f"• {line}")] for line in first)]


def findings_text(checkpoint: PodCheckpoint, language: str) -> str:
    """Return the same in one line, for notifications; empty where nobody looked."""
    found = checkpoint.status.findings
    return " ".join(_sentences(found, language)[:2]) if found else ""


def _sentences(found: FindingsStatus, language: str) -> list[str]:
    counts = found.by_severity
    key = "findings.title" if found.total else "findings.none"
    severities = {"high": counts.high, "medium": counts.medium, "low": counts.low}
    lines = [phrase(language, key, total=found.total, **severities)]
    for one in found.first[:FIRST]:
        severity = phrase(language, f"findings.{one.severity}")
        container = one.container or phrase(language, "findings.node")
        lines.append(
            phrase(
                language,
                "findings.row",
                severity=severity,
                container=container,
                message=_in_words(one, language),
            )
        )
    if found.not_looked_at:
        lines.append(phrase(language, "findings.left", count=found.not_looked_at))
    lines.append(phrase(language, "findings.more"))
    return lines


def _in_words(one: FindingStatus, language: str) -> str:
    """Return what was seen in that language, as far as the operator said it in words of ours."""
    english, own = (rule_title(each, one.rule, one.count) for each in ("en", language))
    told = bool(english) and one.message.startswith(f"{english}: ")
    return f"{own}{one.message.removeprefix(english)}" if told else one.message
