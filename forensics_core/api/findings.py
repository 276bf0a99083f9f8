"""What a status says of findings: how many there are, and which of them want a look first.

Whatever a rule saw is the container's word: every string is cut and made fit to be shown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from forensics_core.api.conditions import clip
from forensics_core.api.order import Model

FIRST = 3
"""Findings that a status has room for."""
_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class FindingSeverity(StrEnum):
    """How soon to look."""

    HIGH = "High"
    MEDIUM = "Medium"
    LOW = "Low"


class FindingStatus(Model):
    """What one rule found in one container."""

    rule: Annotated[str, BeforeValidator(lambda text: clip(text, 63)), Field(max_length=63)]
    """The rule that found it, as 'forensics report' names it."""
    severity: FindingSeverity
    """High, Medium or Low."""
    count: _Count = 1
    """How often the rule found it in that container."""
    container: Annotated[
        str, BeforeValidator(lambda text: clip(text, 63)), Field(max_length=63)
    ] = ""
    """The container; empty where it is about the node."""
    message: Annotated[str, BeforeValidator(lambda text: clip(text, 200)), Field(max_length=200)]
    """What was seen, in a sentence. Paths and names in it are the container's own words."""


class SeverityCounts(Model):
    """How many findings there are of each severity."""

    high: _Count = 0
    """Seldom seen in a container that is as it should be."""
    medium: _Count = 0
    """Worth a look."""
    low: _Count = 0
    """Often harmless, and worth knowing."""


class FindingsStatus(Model):
    """What rules found in the small documents of a bundle; 'forensics report' looks at more."""

    total: _Count = 0
    """Findings altogether."""
    by_severity: SeverityCounts = SeverityCounts()
    """The same by severity."""
    first: Annotated[tuple[FindingStatus, ...], Field(max_length=FIRST)] = ()
    """Those that want a look first, one row for each rule and container."""
    not_looked_at: _Count = 0
    """Documents that were missing, too large or not legible: of these no rule says anything."""
