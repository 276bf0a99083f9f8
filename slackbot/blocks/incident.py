"""The message of an incident with several pods, the lines of its thread, the table at its end."""

from __future__ import annotations

from collections.abc import Sequence

from forensics_core._internal.units import human_size
from forensics_core.api.incident import IncidentSummary, PodSummary
from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.containment import deletion_text, isolation_text, rule_text
from slackbot.blocks.elements import (
    Message,
    context,
    header,
    mention,
    plain,
    rich_text,
    space,
    span,
    table,
)
from slackbot.blocks.limits import TABLE_CHARACTERS, TABLE_ROWS, Blocks
from slackbot.blocks.root import MessageOptions
from slackbot.catalogue import phrase
from slackbot.report_state import CAPTURED, DELETED, ReportState, phase_word
from slackbot.text import clean, clip

FEW = 12
"""Pods that get a line each."""
NAMES = 1200
"""Characters of names in one line."""
FAILURES = 5
"""Pods whose failure is explained."""
FINDINGS = 5
NAME, LINE = 130, 250
"""Characters of a pod's line: its name, and the rest. Twelve of them fit into a message."""
PEOPLE = 3
"""Requesters that are named."""


def incident_message(
    summary: IncidentSummary, options: MessageOptions, language: str, states: Sequence[ReportState]
) -> Message:
    """Return the message as it has to be now. `states` say who asked."""
    key = "incident.title.one" if len(summary.pods) == 1 else "incident.title"
    title = phrase(language, key, incident=summary.incident, count=len(summary.pods))
    headline = headline_text(summary, language)
    lines = [[span(headline, bold=True)]]
    if len(summary.pods) <= FEW:
        lines += [_pod_line(pod, language) for pod in summary.pods]
    else:
        lines += _counted(summary, language)
    lines += _finding_lines(summary, language)
    blocks = [
        header(title),
        *_footnote(summary, options, states, language),
        rich_text(*lines),
    ]
    return Message(f"{title}: {headline}", blocks)


def headline_text(summary: IncidentSummary, language: str) -> str:
    """Return the one line to read: `12 of 30 pods may be killed`."""
    killable, pods = len(summary.may_be_killed), len(summary.pods)
    return phrase(language, "incident.headline", killable=killable, pods=pods)


def _footnote(
    summary: IncidentSummary,
    options: MessageOptions,
    states: Sequence[ReportState],
    language: str,
) -> Blocks:
    requesters = dict.fromkeys(state.requester for state in states if state.requester)
    approvers = dict.fromkeys(state.approver for state in states if state.approver)
    said = [mention(phrase(language, "root.requester"), one) for one in list(requesters)[:PEOPLE]]
    said += [mention(phrase(language, "root.approver"), one) for one in list(approvers)[:PEOPLE]]
    if options.cluster:
        said.append(plain(phrase(language, "root.cluster", cluster=options.cluster)))
    reasons = dict.fromkeys(pod.checkpoint.spec.reason for pod in summary.pods)
    reason = next(filter(None, reasons), "")
    if reason:
        said.append(plain(phrase(language, "root.reason", reason=clip(reason, 300))))
    said.append(plain(phrase(language, "incident.hint")))
    return [context(*said)]


def _pod_line(pod: PodSummary, language: str) -> Blocks:
    said = [
        phrase(language, f"state.{phase_word(pod.checkpoint)}"),
        phrase(language, "incident.kill") if pod.may_be_killed else "",
        pod.reason,
        isolation_text(pod.checkpoint, language),
        deletion_text(pod.checkpoint, language),
        rule_text(pod.checkpoint, language),
    ]
    text = clip(" · ".join(clip(one, 110) for one in said if one), LINE)
    name = f"{pod.name} ({pod.checkpoint.metadata.name})"
    sign = "●" if pod.may_be_killed else "✕" if pod.checkpoint.failed else "◐"
    return [span(sign), space(), span(clip(name, NAME), code=True), space(), span(text)]


def _counted(summary: IncidentSummary, language: str) -> list[Blocks]:
    words: dict[str, int] = {}
    for pod in summary.pods:
        word = phrase(language, f"state.{phase_word(pod.checkpoint)}")
        words[word] = words.get(word, 0) + 1
    lines = [[span(" · ".join(f"{word}: {count}" for word, count in words.items()))]]
    if summary.may_be_killed:
        names = names_text(summary.may_be_killed, language)
        lines.append([span(phrase(language, "incident.killable", names=names))])
    lines += [[span(_failure(pod, language))] for pod in summary.failed[:FAILURES]]
    left = len(summary.failed) - FAILURES
    if left > 0:
        lines.append([span(phrase(language, "incident.more", count=left))])
    return lines


def _failure(pod: PodSummary, language: str) -> str:
    return phrase(language, "incident.failed", pod=pod.name, reason=clip(pod.reason, 200))


def _finding_lines(summary: IncidentSummary, language: str) -> list[Blocks]:
    lines: list[Blocks] = []
    for pods, finding in summary.first_findings(FINDINGS):
        severity = phrase(language, f"findings.{finding.severity}")
        more = f" +{len(pods) - 1}" if len(pods) > 1 else ""
        said = {"severity": severity, "container": clip(f"{pods[0]}{more}", 200)}
        message = clip(finding.message, 300)
        row = phrase(language, "findings.row", **said, message=message)
        lines.append([span(f"• {row}")])
    return lines


def names_text(names: Sequence[str], language: str) -> str:
    """Return as many names as fit into a line, and how many more there are."""
    shown, room = [], NAMES
    for name in names:
        room -= len(name) + 2
        if room < 0:
            break
        shown.append(name)
    left = len(names) - len(shown)
    more = [phrase(language, "incident.more", count=left)] if left else []
    return ", ".join([*shown, *more])


def batch_message(
    milestone: str, checkpoints: Sequence[PodCheckpoint], summary: IncidentSummary, language: str
) -> Message:
    """Return one line of the thread for all pods that have come so far since the last one."""
    names = [f"{one.target_namespace}/{one.spec.pod}" for one in checkpoints]
    said = phrase(language, f"batch.{milestone}", names=names_text(names, language))
    lines = [[span(said, bold=milestone == CAPTURED)]]
    details = (_detail(one, milestone, language) for one in checkpoints[:FAILURES])
    lines += [[span(f"• {text}")] for text in details if text]
    if milestone != DELETED:
        lines.append([span(headline_text(summary, language))])
    return Message(said, [rich_text(*lines)])


def _detail(checkpoint: PodCheckpoint, milestone: str, language: str) -> str:
    texts = {
        "isolated": isolation_text,
        "released": isolation_text,
        "pod-deleted": deletion_text,
        "ruled": rule_text,
    }
    if milestone in texts:
        said = texts[milestone](checkpoint, language)
    elif milestone == "failed":
        said = PodSummary.of([checkpoint]).reason
    else:
        return ""
    return clip(f"{checkpoint.target_namespace}/{checkpoint.spec.pod}: {said}", 400)


def end_message(summary: IncidentSummary, language: str) -> Message:
    """Return the end: how it stands, the first findings, and one table of all pods."""
    headline = headline_text(summary, language)
    size = human_size(summary.size)
    text = phrase(language, "incident.end", headline=headline, size=size)
    lines = [[span(text, bold=True)]]
    if summary.partial:
        names = names_text([pod.name for pod in summary.partial], language)
        lines.append([span(phrase(language, "incident.partial", names=names))])
    lines += _finding_lines(summary, language)
    return Message(text, [rich_text(*lines), table(_rows(summary, language))])


def _rows(summary: IncidentSummary, language: str) -> list[list[str]]:
    columns = ("pod", "state", "size", "manifest", "location")
    head = [phrase(language, f"table.{column}") for column in columns]
    rows: list[list[str]] = []
    room = TABLE_CHARACTERS - 500
    for pod in summary.pods:
        row = _row(pod, language)
        room -= sum(max(1, len(cell)) for cell in row)
        if room < 0 or len(rows) == TABLE_ROWS - 2:
            break
        rows.append(row)
    left = len(summary.pods) - len(rows)
    more = phrase(language, "incident.table.more", count=left, incident=summary.incident)
    return [head, *rows, *([["", more, "", "", ""]] if left else [])]


def _row(pod: PodSummary, language: str) -> list[str]:
    status = pod.checkpoint.status
    state = phrase(language, f"state.{phase_word(pod.checkpoint)}")
    cells = [pod.name, state, status.size, status.manifest_sha256, pod.checkpoint.evidence_location]
    return [clean(cell, 300) for cell in cells]
