"""A button has a look, a handler and a label: none is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointSpec
from lab.slack.workspace import buttons
from slackbot.blocks.buttons import actions, approval_buttons, checkpoint_buttons, labelled
from slackbot.blocks.containment import deletion_text, isolation_text, offered
from slackbot.catalogue.english import ENGLISH
from slackbot.handlers.buttons import HANDLERS

CAPTURED = {
    "type": "Captured",
    "status": "True",
    "reason": "ManifestFound",
    "message": "",
    "lastTransitionTime": "2026-08-01T11:00:00Z",
}
ISOLATE = PodCheckpointSpec(pod="web-0", isolate=True)
LINKS = {"open"}
"""Labels of buttons with an address: there is nothing to do."""


def checkpoint(**status: Any) -> PodCheckpoint:
    metadata = {"name": "web-0", "namespace": "forensics-system", "uid": "u-1"}
    return PodCheckpoint.parse({"metadata": metadata, "spec": {"pod": "web-0"}, "status": status})


def test_every_label_has_a_handler_and_every_handler_a_label() -> None:
    labels = {key.removeprefix("button.") for key in ENGLISH if key.startswith("button.")}
    assert labels - LINKS == set(HANDLERS)


def isolated(status: str, **more: Any) -> dict[str, Any]:
    return CAPTURED | {"type": "Isolated", "status": status, "reason": "Enforced"} | more


def test_containment_is_offered_where_it_is_possible() -> None:
    running = checkpoint(phase="Capturing")
    assert offered(running) == ("isolate",)
    assert offered(running.model_copy(update={"spec": ISOLATE})) == ()
    complete = checkpoint(phase="Complete", conditions=[CAPTURED])
    assert offered(complete) == ("isolate", "deletepod")
    cut_off = checkpoint(phase="Complete", conditions=[CAPTURED, isolated("Unknown")])
    assert offered(cut_off) == ("release", "deletepod")
    refused = checkpoint(phase="Complete", conditions=[CAPTURED, isolated("False")])
    assert offered(refused) == ("isolate", "deletepod")
    gone = CAPTURED | {"type": "PodDeleted"}
    assert offered(checkpoint(phase="Complete", conditions=[CAPTURED, gone])) == ()


def test_reasons_that_are_not_known_are_shown_as_they_are() -> None:
    odd = checkpoint(conditions=[isolated("Unknown", reason="Odd", message="why")])
    assert isolation_text(odd, "en") == "Isolation, Odd: why"
    assert isolation_text(checkpoint().model_copy(update={"spec": ISOLATE}), "en")
    assert isolation_text(checkpoint(), "en") == ""
    kept = CAPTURED | {"type": "PodDeleted", "status": "False", "reason": "Partial"}
    assert deletion_text(checkpoint(conditions=[kept]), "en").startswith("The pod was not deleted")


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_handler_has_a_button_that_is_shown(language: str) -> None:
    running = checkpoint(phase="Capturing")
    complete = checkpoint(phase="Complete", conditions=[CAPTURED])
    contain = ("isolate", "release", "deletepod")
    shown = [
        *checkpoint_buttons(running, language, evidence=True),
        *checkpoint_buttons(complete, language, evidence=True, containment=contain),
        *approval_buttons("id", language),
        labelled("captureall", "id", language),
    ]
    assert set(buttons(actions(*shown))) == set(HANDLERS)
