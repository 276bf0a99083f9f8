"""File systems that are mounted nowhere in sight, and that only processes keep.

One was unmounted while a process stood in it, or was never mounted. What is in memory is archived
with the mounts, under the process that keeps it: `/(kept)/4711/cwd`. The rest is told::

    planned = plan_kept(kept, mounts)

Each is looked at in a thread of its own, since any of them may never answer.

Source: umount(2) on MNT_DETACH, fsmount(2), statfs(2)
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence

from collector.documents import readable
from collector.files.mountplan import KEPT, MountOutcome, PlannedMount, State
from collector.files.safe_open import mount_number
from collector.node.abandonable import raise_if_abandoned, run_abandonable
from collector.node.deletedfiles import SharedDescriptor
from collector.node.unlisted import KeptReference
from collector.runtimes.runtime import Unavailable

SECONDS = 5.0
"""For one of them to say what it is."""
MAX_STUCK = 3
"""File systems that do not answer, after which no other is looked at."""
_MEMORY = {0x01021994: b"tmpfs", 0x858458F6: b"ramfs"}
"""By the number that statfs(2) tells."""
_UP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


async def plan_kept(
    kept: Sequence[KeptReference], mounts: Sequence[PlannedMount], seconds: float = SECONDS
) -> list[PlannedMount]:
    """Return what becomes of each; `mounts` are those in sight, which may be of the same ones."""
    # Where a part of one is mounted, its other parts are nowhere; of volumes nothing comes in here.
    known = {
        each.seen.mount.device: each
        for each in reversed(mounts)
        if each.seen and (each.seen.mount.root == b"/" or each.volume)
    }
    found, stuck = list[PlannedMount](), 0
    for each in kept:
        path = KEPT + b"/%d/" % each.pid + each.where.encode()
        missing = MountOutcome(State.MISSING, "NotVisible", _unmounted_message(each))
        planned = PlannedMount(path, b"", b"", missing, kept=each)
        found.append(planned)
        if stuck >= MAX_STUCK or each.held is None:
            continue
        try:
            await run_abandonable(seconds, "a file system", _look, planned, each.held, known)
        except Unavailable as hung:
            stuck += 1
            planned.outcome = MountOutcome(
                State.MISSING, hung.reason, f"{_unmounted_message(each)}. {hung}"
            )
        except OSError as error:
            planned.outcome = MountOutcome(
                State.MISSING, "Unreadable", f"{_unmounted_message(each)}. {error.strerror}"
            )
    return found


def _unmounted_message(kept: KeptReference) -> str:
    return (
        "It is on a file system that is mounted nowhere in sight: unmounted while in use, or "
        f"mounted by descriptor only. Process {kept.pid} keeps it (/proc/{kept.pid}/{kept.where}, "
        f"{readable(kept.name)})"
    )


def _look(planned: PlannedMount, held: SharedDescriptor, known: dict[bytes, PlannedMount]) -> None:
    kind = _MEMORY.get(_statfs_type(held.number))
    device = os.fstat(held.number).st_dev
    planned.device = b"%d:%d" % (os.major(device), os.minor(device))
    other = known.get(planned.device)
    if other:
        message = f"{planned.outcome.message}. It is mounted at {readable(other.path)}, too"
        planned.outcome = MountOutcome(State.MISSING, "MountedTwice", message)
    elif not kind:
        message = f"{planned.outcome.message}. It is not in memory, and not captured"
        planned.outcome = MountOutcome(State.MISSING, "NotRequested", message)
    else:
        planned.kind = planned.source = kind
        planned.place = _top(held) if planned.kept and planned.kept.folder else held
        planned.outcome = MountOutcome(State.CAPTURED)


def _top(place: SharedDescriptor) -> SharedDescriptor:
    """Return the top of the mount that a directory lies on."""
    number = mount_number(place.number)
    # However deep it lies: a part of it would pass for the whole. Time is what is bounded.
    while True:
        raise_if_abandoned()
        above = SharedDescriptor(os.open("..", _UP, dir_fd=place.number))
        there = os.path.samestat(os.fstat(above.number), os.fstat(place.number))
        if there or mount_number(above.number) != number:
            return place
        place = above


def _statfs_type(place: int) -> int:
    """Return the number of a file system's type. Raises `OSError`."""
    buffer = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fstatfs(place, buffer):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def kept_folders(paths: Iterable[bytes]) -> list[bytes]:
    """Return the directories that lead to what is kept, each before those in it."""
    found = dict[bytes, None]()
    for path in paths:
        if path.startswith(KEPT + b"/"):
            names = path.split(b"/")
            found |= dict.fromkeys(b"/".join(names[:end]) for end in range(2, len(names)))
    return list(found)


def incomplete(planned: PlannedMount) -> MountOutcome | None:
    """Return what to say of a file system of which a single file is all that is in sight."""
    if planned.kept is None or planned.kept.folder or planned.state is not State.CAPTURED:
        return None
    message = (
        f"{_unmounted_message(planned.kept)}. That file is captured; what else is there is not in "
        "sight"
    )
    return MountOutcome(State.PARTIAL, "NotVisible", message)
