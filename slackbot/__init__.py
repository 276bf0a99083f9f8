"""`/checkpoint`: evidence of a pod, asked for and followed in the incident's Slack channel.

The bot has no right to capture anything. It checks who asks, makes a PodCheckpoint on their behalf,
and reports what becomes of it; the operator does the rest.
"""

from __future__ import annotations

from forensics_core._internal.client_models import leave_models_out
from forensics_core._internal.extras import load


def start() -> None:
    """Run `forensics-slackbot`, or say which extra it lacks."""
    leave_models_out()
    # What needs the extra is imported by `load`: this module has to work without.
    load("slackbot.main:main", "slack", "The bot")()
