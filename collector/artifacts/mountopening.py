"""Opening the mounts that are read, all before the first of them, so that nobody replaces one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from collector.files.mountarchive import MAX_BYTES, MAX_ENTRIES, OpenMount
from collector.files.mounted import open_uncovered
from collector.files.mountplan import MountOutcome, PlannedMount, State
from collector.files.mountstream import VOLUME_BYTES, VOLUME_ENTRIES
from collector.files.safe_open import opened
from collector.node.abandonable import run_abandonable
from collector.node.host import Host
from collector.runtimes.runtime import Unavailable


@dataclass(frozen=True, slots=True)
class MountLimits:
    """What the mounts of one container may cost."""

    tops: int = 256
    """Mounts in the archive: each is open all the time, so that nobody can replace it."""
    seconds: float = 30.0
    """For looking at all mounts."""
    volume_seconds: float = 10.0
    """For opening one volume."""
    gaps: int = 400
    """Mounts that are listed one by one in the manifest; the rest are counted there, and are in
    `mounts.json`."""
    memory: tuple[int, int] = (MAX_BYTES, MAX_ENTRIES)
    """Bytes and members of file systems in memory that are archived."""
    volumes: tuple[int, int] = (VOLUME_BYTES, VOLUME_ENTRIES)
    """The same of volumes."""


LIMITS = MountLimits()


async def open_wanted(
    stack: ExitStack,
    wanted: Sequence[PlannedMount],
    machine: Host | None,
    points: frozenset[bytes],
    limits: MountLimits,
) -> list[tuple[PlannedMount, OpenMount]]:
    """Open what is to be read: volumes one by one, since any of them may never answer."""
    plain = [each for each in wanted if not each.volume]
    steps = [plain, *([each] for each in wanted if each.volume)]
    tops: list[tuple[PlannedMount, OpenMount]] = []
    for step in filter(None, steps):
        seconds = limits.seconds if step is plain else limits.volume_seconds
        opening = (stack, step, machine, points, limits.tops - len(tops), limits.tops)
        try:
            tops += await run_abandonable(seconds, "mounts", open_all, *opening)
        except Unavailable as hung:
            if step is plain:
                raise
            step[0].outcome = MountOutcome(
                State.MISSING, hung.reason, f"It could not be opened: {hung}"
            )
    return tops


def open_all(
    stack: ExitStack,
    wanted: Sequence[PlannedMount],
    machine: Host | None,
    points: frozenset[bytes],
    room: int,
    most: int,
) -> list[tuple[PlannedMount, OpenMount]]:
    """Open what is to be archived; what cannot be opened is missing. Mounts lie at `points`.

    There is `room` for so many more, of `most` in all.
    """
    tops: list[tuple[PlannedMount, OpenMount]] = []
    for each in wanted:
        if len(tops) >= room:
            each.outcome = MountOutcome(
                State.MISSING, "TooMany", f"{most} mounts are archived at most"
            )
            continue
        try:
            tops.append((each, stack.enter_context(_open(each, machine, points))))
        except OSError as error:
            why = error.strerror or str(error)
            each.outcome = MountOutcome(
                State.MISSING, "Unreadable", f"It could not be opened: {why}"
            )
    return tops


@contextmanager
def _open(
    each: PlannedMount, machine: Host | None, points: frozenset[bytes]
) -> Iterator[OpenMount]:
    volume = each.volume is not None
    if each.place:
        # Nothing is mounted in it that could be in the way.
        yield OpenMount(
            each.path, each.place.number, single=bool(each.kept and not each.kept.folder)
        )
    elif each.seen:
        with open_uncovered(each.seen) as place:
            yield OpenMount(each.path, place, each.seen.is_file, points, volume)
    elif machine:
        with opened(machine.open(each.source)) as place:
            yield OpenMount(each.path, place, single=not volume, volume=volume)
    else:
        raise OSError("the runtime's machine is not in reach")
