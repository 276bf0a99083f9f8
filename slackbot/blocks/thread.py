"""The messages in a checkpoint's thread, and the table at its end."""

from __future__ import annotations

from collections.abc import Sequence

from forensics_core._internal.units import human_size
from forensics_core.api.conditions import ConditionType
from forensics_core.api.order import Retention
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.bundle.manifest import Artifact
from forensics_core.bundle.verification import Verification
from slackbot.blocks.containment import deletion_text, isolation_text, rule_text
from slackbot.blocks.elements import CELL, Message, rich_text, section, space, span, table
from slackbot.blocks.findings import finding_lines, findings_text
from slackbot.blocks.limits import TABLE_CHARACTERS, TABLE_ROWS
from slackbot.catalogue import phrase
from slackbot.report_state import (
    ATTEMPT,
    CAPTURED,
    COMPLETE,
    DELETED,
    ISOLATED,
    POD_DELETED,
    RELEASED,
    RULED,
    condition_text,
)
from slackbot.text import clean

ROWS = TABLE_ROWS - 3
"""Artifacts in the table: its head, the manifest and a line that says what is missing stay."""
ROOM = TABLE_CHARACTERS - 1000
"""Characters for artifacts, likewise."""
_OF_POD = {
    RULED: rule_text,
    ISOLATED: isolation_text,
    RELEASED: isolation_text,
    POD_DELETED: deletion_text,
}
"""The lines that say what became of the pod, and why it is captured at all."""


def milestone_message(
    checkpoint: PodCheckpoint, milestone: str, language: str, artifacts: Sequence[Artifact] = ()
) -> Message:
    """Return the line for a milestone; `artifacts` of the manifest where it could be read."""
    status = checkpoint.status
    if milestone.startswith(ATTEMPT):
        number = milestone.removeprefix(ATTEMPT)
        return _line(phrase(language, "post.attempt", attempt=number, node=status.node))
    size = {"artifacts": status.artifacts, "size": status.size}
    if milestone == CAPTURED:
        return _line(phrase(language, "post.captured", **size))
    if milestone == COMPLETE:
        return _complete(checkpoint, language, artifacts)
    if milestone == DELETED:
        return _line(phrase(language, "post.deleted"))
    if milestone in _OF_POD:
        return _line(_OF_POD[milestone](checkpoint, language))
    reason, message = condition_text(checkpoint, ConditionType.FAILED)
    text = phrase(language, "post.failed", reason=reason, message=message)
    return Message(text, [section(text), section(phrase(language, "post.failed.next"))])


def _line(text: str) -> Message:
    return Message(text, [rich_text([span(text, bold=True)])])


def _complete(checkpoint: PodCheckpoint, language: str, artifacts: Sequence[Artifact]) -> Message:
    status = checkpoint.status
    seal = phrase(language, "seal.yes" if status.sealed else "seal.no")
    size = {"artifacts": status.artifacts, "size": status.size}
    text = phrase(language, "post.complete", **size, seal=seal)
    lines = [[span(text, bold=True)]]
    partial = condition_text(checkpoint, ConditionType.PARTIAL)[1]
    if partial:
        lines.append([span(phrase(language, "post.partial", message=partial))])
    label = span(phrase(language, "root.location"))
    lines.append([label, space(), span(status.location, code=True)])
    lines += finding_lines(checkpoint, language)
    text = f"{text} {findings_text(checkpoint, language)}".rstrip()
    return Message(text, [rich_text(*lines), table(evidence_rows(checkpoint, language, artifacts))])


def evidence_rows(
    checkpoint: PodCheckpoint, language: str, artifacts: Sequence[Artifact] = ()
) -> list[list[str]]:
    """Return the table: each artifact, or else each container, and the manifest at the end."""
    head = [
        phrase(language, f"table.{column}")
        for column in ("container", "evidence", "size", "sha256", "retention")
    ]
    kept = retention_text(checkpoint.spec.retention, language)
    rows = [_row(one, kept) for one in artifacts]
    if not artifacts:
        rows = [[one.name, str(one.state), "", "", kept] for one in checkpoint.status.containers]
    shown = _fitting(rows)
    left = len(rows) - len(shown)
    more = [["", phrase(language, "table.more", count=left), "", "", ""]] if left else []
    manifest = ["", "manifest.json", "", checkpoint.status.manifest_sha256, kept]
    return [head, *shown, *more, manifest]


def _row(artifact: Artifact, kept: str) -> list[str]:
    size = human_size(artifact.size)
    return [artifact.container or "", clean(artifact.name, CELL), size, artifact.sha256, kept]


def _fitting(rows: list[list[str]]) -> list[list[str]]:
    """Return as many rows from the first on as a table takes."""
    left, shown = ROOM, []
    for row in rows[:ROWS]:
        # An empty cell is shown as one character.
        left -= sum(max(1, len(cell)) for cell in row)
        if left < 0:
            break
        shown.append(row)
    return shown


def retention_text(retention: Retention | None, language: str) -> str:
    """Return how long the evidence cannot be removed."""
    if retention is None:
        return phrase(language, "table.none")
    said = []
    if retention.mode and retention.days:
        said.append(
            phrase(language, "table.retained", mode=str(retention.mode), days=retention.days)
        )
    if retention.legal_hold:
        said.append(phrase(language, "table.hold"))
    return ", ".join(said)


def verification_message(verification: Verification, language: str) -> Message:
    """Return what came out of reading everything again."""
    if verification.ok:
        count, size = verification.artifacts, human_size(verification.size)
        text = phrase(language, "post.verified", artifacts=count, size=size)
    else:
        text = phrase(language, "post.wrong", problem=str(verification.problems[0]))
    seal = phrase(language, f"seal.{verification.seal}")
    seal_line = phrase(language, "post.seal", seal=seal, sha256=verification.manifest_sha256)
    lines = [[span(text, bold=True)], [span(seal_line)]]
    if verification.extras_total:
        extras = phrase(language, "post.extras", count=verification.extras_total)
        lines.append([span(extras)])
    return Message(text, [rich_text(*lines)])


def link_message(namespace: str, pod: str, url: str, language: str) -> Message:
    """Return the line that leads from another thread to the checkpoint's message."""
    text = phrase(language, "post.thread", namespace=namespace, pod=pod)
    link = {"type": "link", "url": url, "text": phrase(language, "post.link")}
    return Message(text, [rich_text([span(text), space(), link])])
