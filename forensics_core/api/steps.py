"""What happens between the request and the evidence, step by step, as a status tells of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from forensics_core.api.order import Model

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Bytes = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""As large as JSON numbers are exact."""


class Step(StrEnum):
    """What happens between the request and the evidence, in this order."""

    REACTION = "Reaction"
    """Until the operator acts: the watch, and whoever is before it in the queue."""
    CONTEXT = "Context"
    """Until the Job is there: places on the node, the pod's surroundings, the work order."""
    SCHEDULING = "Scheduling"
    """Until the Job's pod has its node."""
    CONTAINER_START = "ContainerStart"
    """Until its container runs: the image is pulled where the node does not have it."""
    COLLECTOR_START = "CollectorStart"
    """Until the collector has found the containers: Python starts, and the runtime answers."""
    CAPTURE = "Capture"
    """Until the last artifact is stored."""
    CHECK = "Check"
    """Until the pod may be killed: the manifest and what is stored are compared with the order."""


class StepTiming(Model):
    """How long one step took."""

    step: Step
    """Reaction, Context, Scheduling, ContainerStart, CollectorStart, Capture or Check."""
    milliseconds: Count
    """By the clocks of whoever did it: Kubernetes' has whole seconds."""
