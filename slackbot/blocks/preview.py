"""How many pods a request means, and which, before anything is begun."""

from __future__ import annotations

from collections import Counter

from forensics_core.api.podcheckpoint import AfterCapture
from forensics_core.api.selection import Selection
from forensics_core.api.urgency import Urgency
from slackbot.approvals import PendingRequest
from slackbot.blocks.buttons import actions, confirmed, labelled
from slackbot.blocks.elements import Message, header, rich_text, span
from slackbot.blocks.incident import names_text
from slackbot.catalogue import phrase
from slackbot.selection import where_text


def incident_preview(
    pending: PendingRequest, selection: Selection, *, request_id: str, protected: bool
) -> Message:
    """Return the preview, with the button that begins it; a dry run has no `request_id`."""
    spec, language = pending.spec, pending.requester.language
    title = phrase(language, "preview.title", count=selection.total, query=str(selection.query))
    identity = pending.requester.identity.username
    where = {"where": where_text(selection, language), "identity": identity}
    lines = [
        phrase(language, "preview.where", **where, incident=spec.incident),
        phrase(language, "preview.names", names=_names(selection, language)),
    ]
    urgent = Counter(pod.urgency for pod in selection.pods)
    dying, looping = urgent[Urgency.DYING], urgent[Urgency.CRASHING]
    if dying or looping:
        lines.append(phrase(language, "preview.dying", dying=dying, looping=looping))
    contains = spec.isolate or spec.after_capture is not AfterCapture.KEEP
    said = {
        "isolate": spec.isolate,
        "delete": spec.after_capture is not AfterCapture.KEEP,
        "approval": protected,
        "dryrun": not request_id,
    }
    lines += [phrase(language, f"preview.{key}") for key, true in said.items() if true]
    make = confirmed if contains else labelled
    buttons = actions(make("captureall", request_id, language, "primary")) if request_id else []
    return Message(title, [header(title), rich_text(*([span(one)] for one in lines)), *buttons])


def _names(selection: Selection, language: str) -> str:
    """Return the pods, without the namespace where there is only one."""
    several = len(selection.namespaces) > 1
    return names_text([str(pod) if several else pod.name for pod in selection.pods], language)
