"""Answers that one person sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.units import human_size
from slackbot.blocks.elements import Message, button, header, rich, section, space, words
from slackbot.blocks.limits import (
    MESSAGE_BLOCKS,
    MESSAGE_CHARACTERS,
    Block,
    Blocks,
    message_length,
)
from slackbot.catalogue import say
from slackbot.milestones import state
from slackbot.text import clean

LISTED = 20
"""Checkpoints in a list: the newest."""
PAGES = 4
"""Messages with links at most: a response_url may be used five times."""
PAGE = MESSAGE_CHARACTERS - 1500
"""Characters of one; the rest is for the line that says what is left out."""


@dataclass(frozen=True, slots=True)
class Link:
    """An artifact, and an address that is good for a few minutes."""

    name: str
    size: int
    """Bytes as stored."""
    sha256: str
    url: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a request would lead to."""

    namespace: str
    pod: str
    uid: str
    node: str
    containers: tuple[str, ...]
    identity: str
    protected: bool


def sentence(text: str) -> Message:
    """Return a message of one sentence."""
    return Message(text, [section(text)])


def help_message(language: str) -> Message:
    """Return what can be typed."""
    title = say(language, "help.title")
    typed = (
        ("/checkpoint", "form"),
        ('/checkpoint POD -n NAMESPACE [-c CONTAINER] [--reason "..."] [--incident ID]', "pod"),
        ("/checkpoint POD -n NAMESPACE --dry-run", "dryrun"),
        ("/checkpoint status NAME | list", "status"),
        ("/checkpoint cancel | retry | verify NAME", "acts"),
        ("/checkpoint whoami", "whoami"),
    )
    lines = [
        [words(text, code=True), space(), words(say(language, f"help.{key}"))]
        for text, key in typed
    ]
    return Message(title, [header(title), rich(*lines)])


def list_message(checkpoints: Sequence[PodCheckpoint], language: str) -> Message:
    """Return the newest checkpoints, one a line."""
    if not checkpoints:
        return sentence(say(language, "answer.none"))
    title = say(language, "answer.list")
    lines = [[words(row(one, language))] for one in checkpoints[:LISTED]]
    return Message(title, [header(title), rich(*lines)])


def row(checkpoint: PodCheckpoint, language: str) -> str:
    """Return a checkpoint in one line."""
    return say(
        language,
        "answer.row",
        name=checkpoint.metadata.name,
        namespace=checkpoint.target_namespace,
        pod=checkpoint.spec.pod,
        state=say(language, f"state.{state(checkpoint)}"),
        size=checkpoint.status.size or "-",
    )


def preview_message(preview: Preview, language: str) -> Message:
    """Return the answer to a dry run."""
    title = say(language, "answer.dryrun")
    place = {"namespace": preview.namespace, "pod": preview.pod}
    approval = "answer.dryrun.approval" if preview.protected else "answer.dryrun.free"
    lines = [
        say(language, "answer.dryrun.pod", **place, uid=preview.uid, node=preview.node or "-"),
        say(language, "answer.dryrun.containers", names=", ".join(preview.containers)),
        say(language, "answer.dryrun.identity", identity=preview.identity),
        say(language, approval),
    ]
    return Message(title, [header(title), rich(*([words(line)] for line in lines))])


def links_messages(
    name: str, location: str, links: Sequence[Link], minutes: int, language: str
) -> list[Message]:
    """Return the links of a bundle, each as a button: the addresses are secrets, and long."""
    title = say(language, "answer.download", name=name, minutes=minutes)
    pages: list[Blocks] = [[section(title)]]
    shown = 0
    for number, link in enumerate(links):
        block = _link(link, number, language)
        if not _fits(pages[-1], block):
            if len(pages) == PAGES:
                break
            pages.append([])
        pages[-1].append(block)
        shown += 1
    if shown < len(links):
        left = len(links) - shown
        more = say(language, "answer.links.more", count=left, location=clean(location, 1000))
        pages[-1].append(section(more))
    return [Message(title, blocks) for blocks in pages]


def _link(link: Link, number: int, language: str) -> Block:
    opener = button(f"open-{number}", say(language, "button.open"), "", url=link.url)
    name = clean(link.name, 300)
    return section(f"{name} · {human_size(link.size)} · SHA-256 {link.sha256}", opener)


def _fits(page: Blocks, block: Block) -> bool:
    return len(page) < MESSAGE_BLOCKS - 1 and message_length([*page, block]) < PAGE
