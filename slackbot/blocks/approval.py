"""The request that waits for a second person, and how it ended without one."""

from __future__ import annotations

from forensics_core.api.podcheckpoint import PodCheckpointSpec
from slackbot.blocks.elements import (
    Message,
    actions,
    button,
    context,
    header,
    mention,
    plain,
    rich,
    section,
    space,
    user,
    words,
)
from slackbot.catalogue import say


def approval_message(
    spec: PodCheckpointSpec, *, pending: str, uid: str, requester: str, minutes: int, language: str
) -> Message:
    """Return the request with its two buttons; `pending` is the opaque id that they bear."""
    place = {"namespace": spec.namespace, "pod": spec.pod}
    title = say(language, "approval.title", **place)
    facts = [
        mention(say(language, "root.requester"), requester),
        plain(say(language, "root.uid", uid=uid)),
    ]
    if spec.reason:
        facts.append(plain(say(language, "root.reason", reason=spec.reason)))
    approve, deny = say(language, "button.approve"), say(language, "button.deny")
    blocks = [
        header(title),
        context(*facts),
        section(say(language, "approval.text", namespace=spec.namespace, minutes=minutes)),
        *actions(
            button("approve", approve, pending, style="primary"),
            button("deny", deny, pending, style="danger"),
        ),
    ]
    return Message(title, blocks)


def asked_message(spec: PodCheckpointSpec, *, requester: str, language: str) -> Message:
    """Return what stands there until the PodCheckpoint is made."""
    title = say(language, "root.asked", namespace=spec.namespace, pod=spec.pod)
    who = mention(say(language, "root.requester"), requester)
    return Message(title, [header(title), context(who)])


def ended_message(
    spec: PodCheckpointSpec, *, requester: str, text: str, language: str, by: str = ""
) -> Message:
    """Return what is left of a request that came to nothing, and who ended it."""
    before = asked_message(spec, requester=requester, language=language)
    line = [words(text, bold=True), *([space(), user(by)] if by else [])]
    return Message(f"{before.text}: {text}", [*before.blocks, rich(line)])
