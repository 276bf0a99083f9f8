"""The request that waits for a second person, and how it ended without one."""

from __future__ import annotations

from forensics_core.api.podcheckpoint import PodCheckpointSpec
from slackbot.blocks.buttons import actions, approval_buttons
from slackbot.blocks.elements import (
    Message,
    context,
    header,
    mention,
    plain,
    rich_text,
    section,
    space,
    span,
    user,
)
from slackbot.catalogue import phrase


def approval_message(
    spec: PodCheckpointSpec,
    *,
    request_id: str,
    uid: str,
    requester: str,
    identity: str,
    cluster: str,
    minutes: int,
    language: str,
) -> Message:
    """Return the request with its two buttons, which carry the opaque `request_id`."""
    names = {"namespace": spec.namespace, "pod": spec.pod}
    title = phrase(language, "approval.title", **names)
    facts = [
        mention(phrase(language, "root.requester"), requester),
        plain(phrase(language, "root.identity", identity=identity)),
        plain(phrase(language, "root.uid", uid=uid)),
    ]
    if cluster:
        facts.append(plain(phrase(language, "root.cluster", cluster=cluster)))
    blocks = [
        header(title),
        context(*facts),
        rich_text(*([span(line)] for line in _lines(spec, language))),
        section(phrase(language, "approval.text", namespace=spec.namespace, minutes=minutes)),
        *actions(*approval_buttons(request_id, language)),
    ]
    return Message(title, blocks)


def _lines(spec: PodCheckpointSpec, language: str) -> list[str]:
    """Return everything about a request that somebody may want to think twice about."""
    everything = phrase(language, "approval.all")
    said = {
        "containers": ", ".join(spec.containers) or everything,
        "artifacts": ", ".join(map(str, spec.artifacts)),
        "destination": spec.destination,
        "incident": spec.incident,
        "reason": spec.reason,
    }
    lines = [phrase(language, f"approval.{key}", what=what) for key, what in said.items() if what]
    return [*lines, *([phrase(language, "approval.pause")] if spec.pause else [])]


def ended_message(
    spec: PodCheckpointSpec, *, requester: str, text: str, language: str, by: str = ""
) -> Message:
    """Return what is left of a request that came to nothing, and who ended it."""
    title = phrase(language, "root.asked", namespace=spec.namespace, pod=spec.pod)
    who = mention(phrase(language, "root.requester"), requester)
    line = [span(text, bold=True), *([space(), user(by)] if by else [])]
    return Message(f"{title}: {text}", [header(title), context(who), rich_text(line)])
