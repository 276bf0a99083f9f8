"""The context of each attempt, gathered and stored once: as soon as the pod can be captured.

A capture may have to wait for its place, and the pod may be gone by then. What is stored is
remembered; after a restart it is gathered again, and whatever is stored already is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from forensics_core.api.order import ContextFile
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.kube.objects import Object
from forensics_core.operator import context
from forensics_core.operator.desk import Desk

REMEMBERED = 2000
"""Attempts whose context is remembered while they wait."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is stored of the context, and what could not be read."""

    files: tuple[ContextFile, ...]
    gaps: tuple[str, ...]


class Gathering:
    """Gathers context for all workers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._stored: OrderedDict[str, Gathered] = OrderedDict()

    def done(self, checkpoint: PodCheckpoint) -> bool:
        """Whether the context of the attempt that waits, or is under way, is known to be stored."""
        return checkpoint.status.location in self._stored

    async def store(self, checkpoint: PodCheckpoint, pod: Object) -> Gathered:
        """Gather and store the context at the attempt's location, unless that is done.

        Raises what the destination raises.
        """
        location = checkpoint.status.location
        if location not in self._stored:
            gathered = await context.gather(self._desk.reads, checkpoint, pod)
            writer = await self._desk.writer(checkpoint)
            reader = await self._desk.reader(checkpoint)
            with self._desk.sparing(checkpoint):
                files = await context.upload(gathered, writer, reader)
            self._stored[location] = Gathered(tuple(files), tuple(gathered.gaps))
            if len(self._stored) > REMEMBERED:
                self._stored.popitem(last=False)
        return self._stored[location]

    def forget(self, checkpoint: PodCheckpoint) -> None:
        """Forget an attempt whose order is written, or that is over."""
        self._stored.pop(checkpoint.status.location, None)
