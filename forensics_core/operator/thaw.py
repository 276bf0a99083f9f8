"""Seeing to it that nothing stands still for ever: the thaw Job.

A collector resumes what it paused, and its supervisor does when it is killed. Where their whole pod
was killed, neither can.
"""

from __future__ import annotations

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import AlreadyExists
from forensics_core.operator.desk import Desk
from forensics_core.operator.jobs import build_thaw_job


async def thaw(desk: Desk, checkpoint: PodCheckpoint) -> None:
    """Resume what an attempt without a manifest may have left paused, if it was to pause at all."""
    if not (checkpoint.spec.pause and checkpoint.status.job_name):
        return
    ordered = await desk.order(checkpoint)
    if ordered is None:
        return
    containers = [target.container_id for target in ordered[0].targets]
    try:
        await desk.jobs.create(build_thaw_job(checkpoint, containers, desk.settings.collector))
    except AlreadyExists:
        return
    desk.say(checkpoint, "Thawing", "Containers that may stand still are being resumed.")
