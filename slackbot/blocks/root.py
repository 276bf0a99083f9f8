"""The one message in the channel that is edited as the checkpoint goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from forensics_core.api.names import REQUESTED_BY_ANNOTATION
from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.elements import (
    Message,
    actions,
    button,
    context,
    header,
    mention,
    plain,
    rich,
    space,
    words,
)
from slackbot.blocks.limits import Block, Blocks
from slackbot.blocks.steps import step_blocks
from slackbot.bookmark import Bookmark
from slackbot.catalogue import say
from slackbot.milestones import state


@dataclass(frozen=True, slots=True)
class Frame:
    """What the messages of one bot have in common."""

    cluster: str = ""
    language: str = "en"
    """Where nobody's own is known."""
    evidence: bool = False
    """Whether the bot may read evidence: then it offers to."""
    simple: bool = False
    """Whether the workspace refuses plans."""


def root_message(
    checkpoint: PodCheckpoint, frame: Frame, now: datetime, *, deleted: bool = False
) -> Message:
    """Return the message as it has to be now; one of a deleted checkpoint has no buttons."""
    bookmark = Bookmark.of(checkpoint)
    language = bookmark.language or frame.language
    name = {
        "name": checkpoint.metadata.name,
        "namespace": checkpoint.target_namespace,
        "pod": checkpoint.spec.pod,
    }
    phase = "state.Deleted" if deleted else f"state.{state(checkpoint)}"
    text = say(language, "root.fallback", **name, state=say(language, phase))
    end = [[words(say(language, "root.deleted"), bold=True)]] if deleted else []
    buttons = [] if deleted else _buttons(checkpoint, frame, language)
    blocks = [
        header(say(language, "root.title", **name)),
        *_small_print(checkpoint, bookmark, frame, language),
        *step_blocks(checkpoint, language, now, simple=frame.simple),
        rich(*end, *_lines(checkpoint, language, deleted=deleted)),
        *actions(*buttons),
    ]
    return Message(text, blocks)


def _small_print(
    checkpoint: PodCheckpoint, bookmark: Bookmark, frame: Frame, language: str
) -> Blocks:
    people, facts = [], []
    if bookmark.requester:
        people.append(mention(say(language, "root.requester"), bookmark.requester))
    if bookmark.approver:
        people.append(mention(say(language, "root.approver"), bookmark.approver))
    # Admission vouches for this name; the Slack users above may be anybody's claim.
    identity = checkpoint.metadata.annotations.get(REQUESTED_BY_ANNOTATION, "")
    key = "root.identity" if identity else "root.unattested"
    facts.append(plain(say(language, key, identity=identity)))
    uid = checkpoint.status.pod_uid or bookmark.pod_uid
    spec, started = checkpoint.spec, checkpoint.status.start_time
    for key, value in (
        ("cluster", frame.cluster),
        ("uid", uid),
        ("incident", spec.incident),
        ("reason", spec.reason),
    ):
        if value:
            facts.append(plain(say(language, f"root.{key}", **{key: value})))
    if started:
        time = started.strftime("%Y-%m-%d %H:%M:%S UTC")
        facts.append(plain(say(language, "root.started", time=time)))
    return [context(*people, *facts)]


def _lines(checkpoint: PodCheckpoint, language: str, *, deleted: bool) -> list[Blocks]:
    lines = []
    if checkpoint.captured:
        lines.append([words(say(language, "root.kill"), bold=True)])
    elif not (checkpoint.finished or deleted):
        lines.append([words(say(language, "root.wait"))])
    if checkpoint.evidence_location:
        label = words(say(language, "root.location"))
        lines.append([label, space(), words(checkpoint.evidence_location, code=True)])
    if not (lines or deleted):
        lines.append([words(say(language, "told.failed.next"))])
    return lines


def _buttons(checkpoint: PodCheckpoint, frame: Frame, language: str) -> Blocks:
    uid = checkpoint.metadata.uid or ""
    if not checkpoint.finished:
        return [] if checkpoint.spec.cancel else [_cancel(uid, language)]
    offered = [("retry", "")]
    if checkpoint.captured and not checkpoint.failed and frame.evidence:
        offered = [("download", "primary"), ("verify", ""), *offered]
    return [
        button(action, say(language, f"button.{action}"), uid, style=style)
        for action, style in offered
    ]


def _cancel(uid: str, language: str) -> Block:
    confirm = {
        "title": plain(say(language, "confirm.title"), 100),
        "text": plain(say(language, "confirm.cancel"), 300),
        "confirm": plain(say(language, "confirm.yes"), 30),
        "deny": plain(say(language, "confirm.no"), 30),
        "style": "danger",
    }
    label = say(language, "button.cancel")
    return button("cancel", label, uid, style="danger", confirm=confirm)
