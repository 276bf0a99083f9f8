"""The console script `forensics-operator`: runs the operator, or says what it lacks."""

from __future__ import annotations

from forensics_core.extras import load


def main() -> None:
    """Run it; it ends the process."""
    load("forensics_core.operator.main:main", "operator", "The operator")()
