"""The buttons: how each looks. What a click on one does is in `slackbot.handlers.buttons`.

A new button takes three things: its look here, its handler there, and its label in both languages
of the catalogue, as `button.NAME`.
"""

from __future__ import annotations

from collections.abc import Sequence

from forensics_core.api.conditions import ConditionType, is_true
from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.blocks.elements import plain
from slackbot.blocks.limits import BUTTON, Block, Blocks
from slackbot.catalogue import phrase


def checkpoint_buttons(
    checkpoint: PodCheckpoint,
    language: str,
    *,
    evidence: bool,
    containment: Sequence[str] = (),
) -> Blocks:
    """Return the buttons of a checkpoint's message as it is now.

    `evidence` offers what takes access to the evidence itself, `containment` what can be done with
    the pod: `isolate`, `release`, `deletepod`.
    """
    uid = checkpoint.metadata.uid or ""
    contain = [_contain(one, checkpoint, language) for one in containment]
    if not checkpoint.finished:
        cancel = [] if checkpoint.spec.cancel else [_cancel(uid, language)]
        return [*cancel, *contain]
    offered = [("retry", "")]
    if checkpoint.captured and not checkpoint.failed and evidence:
        offered = [("download", "primary"), ("verify", ""), *offered]
    plain_ones = [labelled(action, uid, language, style) for action, style in offered]
    return [*plain_ones, *contain]


def approval_buttons(request_id: str, language: str) -> Blocks:
    """Return the buttons of a request that waits for a second person."""
    return [
        labelled("approve", request_id, language, "primary"),
        labelled("deny", request_id, language, "danger"),
    ]


def link_button(name: str, url: str, language: str) -> Block:
    """Return a button that opens an address; `name` tells several in one message apart."""
    return button(f"open-{name}", phrase(language, "button.open"), "", url=url)


def button(
    action: str,
    label: str,
    value: str,
    *,
    style: str = "",
    confirm: Block | None = None,
    url: str = "",
) -> Block:
    """Return a button; `value` is an opaque id, never something to be trusted."""
    made: Block = {"type": "button", "action_id": action, "text": plain(label, BUTTON)}
    more = {"value": value, "style": style, "confirm": confirm, "url": url}
    return made | {name: given for name, given in more.items() if given}


def actions(*buttons: Block) -> Blocks:
    """Return a row of buttons, or nothing where there are none."""
    return [{"type": "actions", "elements": list(buttons)}] if buttons else []


def labelled(action: str, value: str, language: str, style: str = "") -> Block:
    """Return a button with its label of the catalogue."""
    return button(action, phrase(language, f"button.{action}"), value, style=style)


def confirmed(
    action: str, value: str, language: str, style: str = "danger", *, text: str = ""
) -> Block:
    """Return the same with a dialog before it; `text` is the dialog's key, after `confirm.`."""
    label = phrase(language, f"button.{action}")
    confirm = {
        "title": plain(phrase(language, f"confirm.{action}.title"), 100),
        "text": plain(phrase(language, f"confirm.{text or action}"), 300),
        "confirm": plain(label, 30),
        "deny": plain(phrase(language, "confirm.back"), 30),
        "style": style,
    }
    return button(action, label, value, style=style, confirm=confirm)


def _contain(action: str, checkpoint: PodCheckpoint, language: str) -> Block:
    partial = is_true(checkpoint.status.conditions, ConditionType.PARTIAL)
    text = "deletepod.partial" if action == "deletepod" and partial else ""
    style = "primary" if action == "release" else "danger"
    return confirmed(action, checkpoint.metadata.uid or "", language, style, text=text)


def _cancel(uid: str, language: str) -> Block:
    confirm = {
        "title": plain(phrase(language, "confirm.title"), 100),
        "text": plain(phrase(language, "confirm.cancel"), 300),
        "confirm": plain(phrase(language, "confirm.yes"), 30),
        "deny": plain(phrase(language, "confirm.no"), 30),
        "style": "danger",
    }
    label = phrase(language, "button.cancel")
    return button("cancel", label, uid, style="danger", confirm=confirm)
