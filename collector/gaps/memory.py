"""What cores of processes lack: a gap for each reason, however many processes it is true of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from collector.container import ContainerCapture
from collector.documents import BoundedNames

_LEFT_OUT = {
    "unmodified": "are as in the files that are mapped there, which it lists",
    "device": "of devices and of rings shared with the kernel",
    "kernel": "of the kernel's own pages (vvar, vsyscall)",
    "elsewhere": "of shared memory that is in another process's core",
}
_OF_HOLDING = frozenset({"registers", "moving"})
"""Losses that nobody minds who asked that no process be held."""
_LOSSES = {
    "unstored": ("memory of processes", "TooMany", "No room was left for cores of {pids}", True),
    "late": ("memory of processes", "Deadline", "There was no time for all of {pids}", True),
    "ended": ("memory of processes", "Gone", "They had ended: {pids}", False),
    "unread": ("memory of processes", "Unreadable", "Not, or not wholly read: {pids}", True),
    "cut": (
        "memory, its rest",
        "TooLarge",
        "At least {size} bytes of {pids} are not in their cores, which are limited",
        True,
    ),
    "unreadable": ("memory", "Unreadable", "{size} bytes of {pids} are zeros in the cores", True),
    "gone": (
        "memory, its rest",
        "Gone",
        "{pids} ended, or began other programs, meanwhile: at least {size} bytes are missing",
        True,
    ),
    "registers": ("registers", "NotPermitted", "Of {size} threads of {pids}", True),
    "unlisted": ("memory, its map", "TooMany", "{size} mappings of {pids} were passed over", True),
    "loose": (
        "standstill",
        "Failed",
        "{size} threads of {pids} did not stand still while these were read",
        False,
    ),
    "expired": (
        "standstill",
        "Limit",
        "{pids} went on before all was read: what was read later may be of other moments",
        False,
    ),
    "moving": ("standstill", "NotPermitted", "{pids} ran on while they were read", False),
}
"""What a gap says, and whether what it names was asked for."""


@dataclass(slots=True)
class _MemoryLoss:
    processes: BoundedNames = field(default_factory=BoundedNames)
    size: int = 0
    why: str = ""
    """Why it was so for the first."""


@dataclass(slots=True)
class Losses:
    """What the cores of one container lack."""

    omitted: Counter[str] = field(default_factory=Counter)
    """Bytes of address space that belong in no core, by why."""
    _losses: dict[str, _MemoryLoss] = field(default_factory=dict)

    def add(self, what: str, pid: int, size: int = 0, why: str = "") -> None:
        """Note that the core of a process lacks something; `what` is a key of `_LOSSES`."""
        loss = self._losses.setdefault(what, _MemoryLoss())
        loss.processes.add(str(pid))
        loss.size += size
        loss.why = loss.why or why

    def account(self, capture: ContainerCapture, unhashed: int, unlisted: int) -> None:
        """Record all of it; of the files that are mapped, so many have no digest, or no row."""
        for what, loss in self._losses.items():
            _record(capture, what, loss)
        if self.omitted.total():
            sizes = ((what, size) for what, size in self.omitted.items() if size)
            parts = ", ".join(f"{size} bytes {_LEFT_OUT[what]}" for what, size in sizes)
            message = (
                f"Of address space, all processes together: {parts}. memory.json has more. "
                "Registers wider than 128 bits (AVX, SVE) are in no core"
            )
            capture.record_gap("memory, left out of cores", "NotStored", message, requested=False)
        if unhashed or unlisted:
            message = (
                f"{unhashed} mapped files have no SHA-256: they cannot be read, or that would take "
                f"too long. {unlisted} times more files were mapped than listed"
            )
            capture.record_gap("memory, digests of files", "NotHashed", message, requested=False)


def _record(capture: ContainerCapture, what: str, loss: _MemoryLoss) -> None:
    name, reason, message, requested = _LOSSES[what]
    if what in _OF_HOLDING and not capture.freeze:
        reason, requested = "NotRequested", False
    if what == "late":
        reason = capture.stop.reason
    message = message.format(size=loss.size, pids=loss.processes)
    message += f". {loss.why}" if loss.why else ""
    capture.record_gap(name, reason, message, requested=requested)
