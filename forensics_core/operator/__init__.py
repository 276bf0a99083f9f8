"""The operator: watches PodCheckpoints, runs a Job for each attempt, seals what it captured."""

from __future__ import annotations

from forensics_core._internal.client_models import leave_models_out
from forensics_core._internal.extras import load


def start() -> None:
    """Run `forensics-operator`, or say which extra it lacks."""
    leave_models_out()
    # What needs the extra is imported by `load`: this module has to work without.
    load("forensics_core.operator.main:main", "operator", "The operator")()


def start_releaser() -> None:
    """Run `forensics-hold-releaser`, or say which extra it lacks."""
    leave_models_out()
    load("forensics_core.operator.releaser:main", "operator", "The releaser of holds")()
