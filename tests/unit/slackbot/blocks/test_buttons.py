"""A button has a look, a handler and a label: none is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_core.api.podcheckpoint import PodCheckpoint
from lab.slack.workspace import buttons
from slackbot.blocks.buttons import actions, approval_buttons, checkpoint_buttons
from slackbot.catalogue.english import ENGLISH
from slackbot.handlers.buttons import HANDLERS

CAPTURED = {
    "type": "Captured",
    "status": "True",
    "reason": "ManifestFound",
    "message": "",
    "lastTransitionTime": "2026-08-01T11:00:00Z",
}
LINKS = {"open"}
"""Labels of buttons with an address: there is nothing to do."""


def checkpoint(**status: Any) -> PodCheckpoint:
    metadata = {"name": "web-0", "namespace": "forensics-system", "uid": "u-1"}
    return PodCheckpoint.parse({"metadata": metadata, "spec": {"pod": "web-0"}, "status": status})


def test_every_label_has_a_handler_and_every_handler_a_label() -> None:
    labels = {key.removeprefix("button.") for key in ENGLISH if key.startswith("button.")}
    assert labels - LINKS == set(HANDLERS)


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_handler_has_a_button_that_is_shown(language: str) -> None:
    running = checkpoint(phase="Capturing")
    complete = checkpoint(phase="Complete", conditions=[CAPTURED])
    shown = [
        *checkpoint_buttons(running, language, evidence=True),
        *checkpoint_buttons(complete, language, evidence=True),
        *approval_buttons("id", language),
    ]
    assert set(buttons(actions(*shown))) == set(HANDLERS)
