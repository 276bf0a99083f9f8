"""The form that `/checkpoint` alone and the message shortcut open."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from forensics_core.api.podcheckpoint import AfterCapture
from slackbot.blocks.elements import plain, section
from slackbot.blocks.limits import OPTION, OPTIONS, PLACEHOLDER, TITLE, Block
from slackbot.catalogue import phrase
from slackbot.command import REASON_LIMIT, CaptureRequest, capture_request

FORM = "checkpoint-form"
"""The form's callback id."""


@dataclass(frozen=True, slots=True)
class FormContext:
    """Where a form was opened: what it leads to belongs there, and is authorised there again."""

    channel: str = ""
    thread: str = ""
    """For the shortcut: the message whose thread gets a link to the report."""
    language: str = "en"
    namespace: str = ""
    """What is chosen so far: Slack leaves it out when it asks for suggestions."""
    pod: str = ""

    def encode(self) -> str:
        """Return it as `private_metadata`."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> FormContext:
        """Read it back; a form without any belongs nowhere."""
        known = json.loads(text) if text else {}
        return cls(**{name: str(known[name]) for name in cls.__slots__ if name in known})


def loading_view(language: str) -> Block:
    """Return what is shown at once, as the trigger lives three seconds only."""
    return _view(language, [section(phrase(language, "form.loading"))])


def refusal_view(text: str, language: str) -> Block:
    """Return what is shown instead of the form."""
    title = {"title": plain(phrase(language, "form.refused"), TITLE)}
    return _view(language, [section(text)]) | title


def form_view(
    context: FormContext, *, reason: str = "", incident: str = "", contain: bool = False
) -> Block:
    """Return the form itself; `contain` offers to isolate the pod, and to delete it.

    What depends on a choice has another block id with each: so Slack forgets what was chosen there.
    """
    language, namespace = context.language, context.namespace
    # The default namespace, or what was chosen: each update of a form starts from its blocks.
    first = {"initial_option": option(namespace)} if namespace else {}
    then = {"initial_option": option(context.pod)} if context.pod else {}
    of_pod = _choice_id(namespace, context.pod)
    one, several = _select("external_select", language), _select("multi_external_select", language)
    blocks = [
        _input("namespace", language, one | first, dispatch=True),
        _input("pod", language, one | then, choice=_choice_id(namespace), dispatch=True),
        _input("containers", language, several, choice=of_pod, optional=True),
        _input("reason", language, _writing(REASON_LIMIT, reason, lines=True), optional=True),
        _input("incident", language, _writing(63, incident), optional=True),
        *([_input("contain", language, _boxes(language), optional=True)] if contain else []),
    ]
    submit = {"submit": plain(phrase(language, "form.submit"), TITLE)}
    return _view(language, blocks) | submit | {"private_metadata": context.encode()}


def _view(language: str, blocks: list[Block]) -> Block:
    return {
        "type": "modal",
        "callback_id": FORM,
        "title": plain(phrase(language, "form.title"), TITLE),
        # Without a submit button: only the filled form gets one.
        "close": plain(phrase(language, "form.close"), TITLE),
        "blocks": blocks,
    }


def _choice_id(*choices: str) -> str:
    """Return a short name for what is chosen."""
    return hashlib.sha256("/".join(choices).encode()).hexdigest()[:8]


def _input(
    name: str,
    language: str,
    element: Block,
    *,
    choice: str = "",
    optional: bool = False,
    dispatch: bool = False,
) -> Block:
    """Return an input; with `dispatch` the bot is called as soon as something is chosen."""
    block: Block = {
        "type": "input",
        "block_id": f"{name}-{choice}" if choice else name,
        "label": plain(phrase(language, f"form.{name}")),
        "element": element | {"action_id": name},
        "optional": optional,
        "dispatch_action": dispatch,
    }
    if name in {"containers", "reason"}:
        block["hint"] = plain(phrase(language, f"form.{name}.hint"))
    return block


def _select(kind: str, language: str) -> Block:
    placeholder = plain(phrase(language, "form.type"), PLACEHOLDER)
    return {"type": kind, "min_query_length": 0, "placeholder": placeholder}


def _boxes(language: str) -> Block:
    texts = ((name, phrase(language, f"form.contain.{name}")) for name in ("isolate", "delete"))
    boxes = [{"text": plain(text, OPTION), "value": name} for name, text in texts]
    return {"type": "checkboxes", "options": boxes}


def _writing(most: int, initial: str, *, lines: bool = False) -> Block:
    element: Block = {"type": "plain_text_input", "max_length": most, "multiline": lines}
    return element | ({"initial_value": initial} if initial else {})


def option(name: str) -> Block:
    """Return a name as an option; a long one is cut where it is shown, not in its value."""
    return {"text": plain(name, OPTION), "value": name}


def options(names: Iterable[str]) -> list[Block]:
    """Return as many options as Slack shows; names that are too long for a value are left out."""
    return [option(name) for name in names if len(name) <= 150][:OPTIONS]


def chosen(view: Block, name: str) -> str:
    """Return what is chosen or written in a form, or nothing."""
    value = _value(view, name)
    picked = value.get("selected_option") or {}
    return str(picked.get("value") or value.get("value") or "")


def filled_in(view: Block) -> CaptureRequest:
    """Return the request of a form. Raises `UserMessage`."""
    containers = _value(view, "containers").get("selected_options") or []
    checked = {one["value"] for one in _value(view, "contain").get("selected_options") or ()}
    return capture_request(
        chosen(view, "pod"),
        chosen(view, "namespace"),
        tuple(str(one["value"]) for one in containers),
        chosen(view, "reason"),
        chosen(view, "incident"),
        isolate="isolate" in checked,
        after_capture=AfterCapture.DELETE if "delete" in checked else AfterCapture.KEEP,
    )


def block_of(view: Block, name: str) -> str:
    """Return the id of the block with a field, where an error about it belongs."""
    found = [block["block_id"] for block in view["blocks"] if _action(block) == name]
    return str(found[0])


def _action(block: Block) -> str:
    return str(block.get("element", {}).get("action_id", ""))


def _value(view: Block, name: str) -> dict[str, Any]:
    values = view.get("state", {}).get("values", {})
    found: list[dict[str, Any]] = [block[name] for block in values.values() if block.get(name)]
    return found[0] if found else {}
