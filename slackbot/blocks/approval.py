"""The request that waits for a second person, and how it ended without one."""

from __future__ import annotations

from forensics_core.api.podcheckpoint import AfterCapture, PodCheckpointSpec
from slackbot.approvals import PendingRequest
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
from slackbot.blocks.incident import names_text
from slackbot.catalogue import phrase


def approval_message(
    pending: PendingRequest, *, request_id: str, cluster: str, minutes: int
) -> Message:
    """Return the request with its two buttons, which carry the opaque `request_id`."""
    spec, person, language = pending.spec, pending.requester, pending.requester.language
    title = request_title(pending, "approval.title", "approval.many")
    facts = [
        mention(phrase(language, "root.requester"), person.actor.user),
        plain(phrase(language, "root.identity", identity=person.identity.username)),
    ]
    if pending.pod_uid:
        facts.append(plain(phrase(language, "root.uid", uid=pending.pod_uid)))
    if cluster:
        facts.append(plain(phrase(language, "root.cluster", cluster=cluster)))
    lines = _release(language) if pending.release else _lines(spec, language)
    if pending.pods:
        names = names_text([str(pod) for pod in pending.pods], language)
        lines = [phrase(language, "approval.pods", what=names), *lines]
    where = ", ".join(pending.namespaces)
    blocks = [
        header(title),
        context(*facts),
        rich_text(*([span(line)] for line in lines)),
        section(phrase(language, "approval.text", namespace=where, minutes=minutes)),
        *actions(*approval_buttons(request_id, language)),
    ]
    return Message(title, blocks)


def request_title(pending: PendingRequest, one: str, many: str) -> str:
    """Return what a request is about, by its pod or by its incident."""
    spec, language = pending.spec, pending.requester.language
    if pending.pods:
        return phrase(language, many, count=len(pending.pods), incident=spec.incident)
    return phrase(language, one, namespace=spec.namespace, pod=spec.pod)


def _release(language: str) -> list[str]:
    return [phrase(language, "approval.release")]


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
    lines += [phrase(language, "approval.pause")] if spec.pause else []
    lines += [phrase(language, "approval.isolate")] if spec.isolate else []
    if spec.after_capture is not AfterCapture.KEEP:
        lines.append(phrase(language, "approval.after", what=str(spec.after_capture)))
    return lines


def ended_message(pending: PendingRequest, text: str, *, by: str = "") -> Message:
    """Return what is left of a request that is not open any more, and who ended it."""
    language = pending.requester.language
    title = request_title(pending, "root.asked", "incident.asked")
    who = mention(phrase(language, "root.requester"), pending.requester.actor.user)
    line = [span(text, bold=True), *([space(), user(by)] if by else [])]
    return Message(f"{title}: {text}", [header(title), context(who), rich_text(line)])
