"""The one message in the channel that is edited as the checkpoint goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from forensics_core.api.names import REQUESTED_BY_ANNOTATION
from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.buttons import actions, checkpoint_buttons
from slackbot.blocks.containment import containment_lines, offered, rule_text
from slackbot.blocks.elements import (
    Message,
    context,
    header,
    mention,
    plain,
    rich_text,
    space,
    span,
)
from slackbot.blocks.findings import finding_lines
from slackbot.blocks.limits import Blocks
from slackbot.blocks.steps import step_blocks
from slackbot.catalogue import phrase
from slackbot.report_state import ReportState, phase_word


@dataclass(frozen=True, slots=True)
class MessageOptions:
    """Settings that all messages of a bot share."""

    cluster: str = ""
    language: str = "en"
    """Of messages about checkpoints whose requester's is not known."""
    evidence: bool = False
    """Whether the bot can read evidence: then it offers download and verification."""
    simple: bool = False
    """Without plan blocks, for workspaces that refuse them."""
    containment: bool = False
    """Whether pods can be isolated and deleted here: then it offers that."""


def buttons_of(checkpoint: PodCheckpoint, options: MessageOptions, language: str) -> Blocks:
    """Return what can be clicked below a checkpoint as it is now."""
    contain = offered(checkpoint) if options.containment else ()
    evidence = options.evidence
    return checkpoint_buttons(checkpoint, language, evidence=evidence, containment=contain)


def root_message(
    checkpoint: PodCheckpoint, options: MessageOptions, now: datetime, *, deleted: bool = False
) -> Message:
    """Return the message as it has to be now; one of a deleted checkpoint has no buttons."""
    state = ReportState.of(checkpoint)
    language = state.language or options.language
    name = {
        "name": checkpoint.metadata.name,
        "namespace": checkpoint.target_namespace,
        "pod": checkpoint.spec.pod,
    }
    phase = "state.Deleted" if deleted else f"state.{phase_word(checkpoint)}"
    text = phrase(language, "root.fallback", **name, state=phrase(language, phase))
    end = [[span(phrase(language, "root.deleted"), bold=True)]] if deleted else []
    buttons = [] if deleted else buttons_of(checkpoint, options, language)
    blocks = [
        header(phrase(language, "root.title", **name)),
        *_footnote(checkpoint, state, options, language),
        *step_blocks(checkpoint, language, now, simple=options.simple),
        rich_text(*end, *_lines(checkpoint, language, deleted=deleted)),
        *actions(*buttons),
    ]
    return Message(text, blocks)


def _footnote(
    checkpoint: PodCheckpoint, state: ReportState, options: MessageOptions, language: str
) -> Blocks:
    people, facts = [], []
    if state.requester:
        people.append(mention(phrase(language, "root.requester"), state.requester))
    if state.approver:
        people.append(mention(phrase(language, "root.approver"), state.approver))
    # Admission vouches for this name; the Slack users above may be anybody's claim.
    identity = checkpoint.metadata.annotations.get(REQUESTED_BY_ANNOTATION, "")
    key = "root.identity" if identity else "root.unattested"
    facts.append(plain(phrase(language, key, identity=identity)))
    rule = rule_text(checkpoint, language)
    if rule:
        facts.append(plain(rule))
    uid = checkpoint.status.pod_uid or state.pod_uid
    spec, started = checkpoint.spec, checkpoint.status.start_time
    for key, value in (
        ("cluster", options.cluster),
        ("uid", uid),
        ("incident", spec.incident),
        ("reason", spec.reason),
    ):
        if value:
            facts.append(plain(phrase(language, f"root.{key}", **{key: value})))
    if started:
        time = started.strftime("%Y-%m-%d %H:%M:%S UTC")
        facts.append(plain(phrase(language, "root.started", time=time)))
    return [context(*people, *facts)]


def _lines(checkpoint: PodCheckpoint, language: str, *, deleted: bool) -> list[Blocks]:
    lines = []
    if checkpoint.captured:
        lines.append([span(phrase(language, "root.kill"), bold=True)])
    elif not (checkpoint.finished or deleted):
        lines.append([span(phrase(language, "root.wait"))])
    if checkpoint.evidence_location:
        label = span(phrase(language, "root.location"))
        lines.append([label, space(), span(checkpoint.evidence_location, code=True)])
    lines += containment_lines(checkpoint, language)
    lines += finding_lines(checkpoint, language)
    # It has failed, and nothing is stored.
    if not (lines or deleted):
        lines.append([span(phrase(language, "post.failed.next"))])
    return lines
