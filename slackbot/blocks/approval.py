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
    spec: PodCheckpointSpec,
    *,
    pending: str,
    uid: str,
    requester: str,
    identity: str,
    cluster: str,
    minutes: int,
    language: str,
) -> Message:
    """Return the request with its two buttons; `pending` is the opaque id that they bear."""
    place = {"namespace": spec.namespace, "pod": spec.pod}
    title = say(language, "approval.title", **place)
    facts = [
        mention(say(language, "root.requester"), requester),
        plain(say(language, "root.identity", identity=identity)),
        plain(say(language, "root.uid", uid=uid)),
    ]
    if cluster:
        facts.append(plain(say(language, "root.cluster", cluster=cluster)))
    approve, deny = say(language, "button.approve"), say(language, "button.deny")
    blocks = [
        header(title),
        context(*facts),
        rich(*([words(line)] for line in _lines(spec, language))),
        section(say(language, "approval.text", namespace=spec.namespace, minutes=minutes)),
        *actions(
            button("approve", approve, pending, style="primary"),
            button("deny", deny, pending, style="danger"),
        ),
    ]
    return Message(title, blocks)


def _lines(spec: PodCheckpointSpec, language: str) -> list[str]:
    """Return everything about a request that somebody may want to think twice about."""
    everything = say(language, "approval.all")
    said = {
        "containers": ", ".join(spec.containers) or everything,
        "artifacts": ", ".join(map(str, spec.artifacts)),
        "destination": spec.destination,
        "incident": spec.incident,
        "reason": spec.reason,
    }
    lines = [say(language, f"approval.{key}", what=what) for key, what in said.items() if what]
    return [*lines, *([say(language, "approval.pause")] if spec.pause else [])]


def ended_message(
    spec: PodCheckpointSpec, *, requester: str, text: str, language: str, by: str = ""
) -> Message:
    """Return what is left of a request that came to nothing, and who ended it."""
    title = say(language, "root.asked", namespace=spec.namespace, pod=spec.pod)
    who = mention(say(language, "root.requester"), requester)
    line = [words(text, bold=True), *([space(), user(by)] if by else [])]
    return Message(f"{title}: {text}", [header(title), context(who), rich(line)])
