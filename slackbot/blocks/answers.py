"""Answers that one person sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from forensics_core._internal.units import human_size
from forensics_core.api.incident import PodRequest, RequestState
from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.buttons import link_button
from slackbot.blocks.elements import Message, header, rich_text, section, sentence, space, span
from slackbot.blocks.limits import (
    MESSAGE_BLOCKS,
    MESSAGE_CHARACTERS,
    Block,
    Blocks,
    message_length,
)
from slackbot.catalogue import phrase
from slackbot.report_state import phase_word
from slackbot.text import clean

LISTED = 20
"""Checkpoints in a list: the newest."""
PAGES = 4
"""Messages with links at most: a response_url may be used five times."""
PAGE = MESSAGE_CHARACTERS - 1500
"""Characters of one; the rest is for the line that says what is left out."""


@dataclass(frozen=True, slots=True)
class DownloadLink:
    """An artifact, and an address that is good for a few minutes."""

    name: str
    size: int
    """Bytes as stored."""
    sha256: str
    url: str


@dataclass(frozen=True, slots=True)
class RequestPreview:
    """What a request would lead to."""

    namespace: str
    pod: str
    uid: str
    node: str
    containers: tuple[str, ...]
    identity: str
    protected: bool


def help_message(language: str) -> Message:
    """Return what can be typed."""
    title = phrase(language, "help.title")
    typed = (
        ("/checkpoint", "form"),
        ('/checkpoint POD -n NAMESPACE [-c CONTAINER] [--reason "..."] [--incident ID]', "pod"),
        ("/checkpoint POD -n NAMESPACE --dry-run", "dryrun"),
        ("/checkpoint -n NAMESPACE -l app=web | --owner | --node | --image", "many"),
        ("--isolate, --after-capture delete", "contain"),
        ("/checkpoint status NAME | list", "status"),
        ("/checkpoint cancel | retry | verify | release NAME", "acts"),
        ("/checkpoint whoami", "whoami"),
    )
    lines = [
        [span(text, code=True), space(), span(phrase(language, f"help.{key}"))]
        for text, key in typed
    ]
    return Message(title, [header(title), rich_text(*lines)])


def list_message(checkpoints: Sequence[PodCheckpoint], language: str) -> Message:
    """Return the newest checkpoints, one a line."""
    if not checkpoints:
        return sentence(phrase(language, "answer.none"))
    title = phrase(language, "answer.list")
    lines = [[span(row(one, language))] for one in checkpoints[:LISTED]]
    return Message(title, [header(title), rich_text(*lines)])


def row(checkpoint: PodCheckpoint, language: str) -> str:
    """Return a checkpoint in one line."""
    return phrase(
        language,
        "answer.row",
        name=checkpoint.metadata.name,
        namespace=checkpoint.target_namespace,
        pod=checkpoint.spec.pod,
        state=phrase(language, f"state.{phase_word(checkpoint)}"),
        size=checkpoint.status.size or "-",
    )


def many_text(many: Sequence[PodRequest], incident: str, language: str) -> str:
    """Return what became of asking for several pods."""
    states = Counter(one.state for one in many)
    counts = {"created": states[RequestState.CREATED], "existing": states[RequestState.EXISTING]}
    text = phrase(language, "answer.many", **counts, count=len(many), incident=incident)
    refused = [one for one in many if one.error is not None]
    if not refused:
        return text
    said = {"pod": str(refused[0].pod), "message": str(refused[0].error)}
    return f"{text} " + phrase(language, "answer.many.refused", count=len(refused), **said)


def outcome_of(many: Sequence[PodRequest]) -> str:
    """Return the same for the audit log: `created 12, refused 1`."""
    states = Counter(str(one.state).lower() for one in many)
    return ", ".join(f"{state} {count}" for state, count in states.items())


def preview_message(preview: RequestPreview, language: str) -> Message:
    """Return the answer to a dry run."""
    title = phrase(language, "answer.dryrun")
    names = {"namespace": preview.namespace, "pod": preview.pod}
    approval = "answer.dryrun.approval" if preview.protected else "answer.dryrun.free"
    lines = [
        phrase(language, "answer.dryrun.pod", **names, uid=preview.uid, node=preview.node or "-"),
        phrase(language, "answer.dryrun.containers", names=", ".join(preview.containers)),
        phrase(language, "answer.dryrun.identity", identity=preview.identity),
        phrase(language, approval),
    ]
    return Message(title, [header(title), rich_text(*([span(line)] for line in lines))])


def links_messages(
    name: str, location: str, links: Sequence[DownloadLink], minutes: int, language: str
) -> list[Message]:
    """Return the links of a bundle, each as a button: the addresses are secrets, and long."""
    title = phrase(language, "answer.download", name=name, minutes=minutes)
    pages: list[Blocks] = [[section(title)]]
    shown = 0
    for number, link in enumerate(links):
        block = _link(link, number, language)
        # Presigned addresses are long: ten of them may fill a message.
        if not _fits(pages[-1], block):
            if len(pages) == PAGES:
                break
            pages.append([])
        pages[-1].append(block)
        shown += 1
    if shown < len(links):
        left = len(links) - shown
        more = phrase(language, "answer.links.more", count=left, location=clean(location, 1000))
        pages[-1].append(section(more))
    return [Message(title, blocks) for blocks in pages]


def _link(link: DownloadLink, number: int, language: str) -> Block:
    opener = link_button(str(number), link.url, language)
    name = clean(link.name, 300)
    return section(f"{name} · {human_size(link.size)} · SHA-256 {link.sha256}", opener)


def _fits(page: Blocks, block: Block) -> bool:
    return len(page) < MESSAGE_BLOCKS - 1 and message_length([*page, block]) < PAGE
