"""One process's core, made ready: its head, and what reads the rest."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as MappingOf
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from collector.files.safe_open import opened
from collector.memory import elf
from collector.memory.freeze import MAX_THREADS
from collector.memory.mappings import Mapping, MappingKind, mappings
from collector.memory.pages import Pages
from collector.memory.reading import CoreReader
from collector.memory.regions import CorePlan
from collector.node.abandonable import raise_if_abandoned
from collector.node.procfs import Process
from collector.runtimes.runtime import Unavailable

LARGE = 1024 * 1024
"""Bytes of shared memory that are stored with one process only."""
MAX_AUXV = 64 * 1024

Shared = dict[tuple[bytes, int, int, int], int]
"""Large shared memory, by device, inode, offset and size, and the process in whose core it is."""


@dataclass(slots=True)
class Core:
    """A core to be written."""

    head: bytes
    reader: CoreReader
    plan: CorePlan
    rows: list[Mapping]
    """All mappings that were looked at."""
    unlisted: int
    """Those that were not."""
    threads: int
    """Threads that are named in it."""
    bare: int
    """Threads without all of their registers, those too that are not named."""
    unnamed: int
    """Mappings for whose file's name there is no room in the core."""
    unmodified: int = 0
    """Bytes of address space that are as in a file."""
    omitted: Counter[str] = field(default_factory=Counter)
    """Bytes of address space that are left out, by why: `device`, `kernel`, `elsewhere`."""
    elsewhere: dict[str, int] = field(default_factory=dict)
    """Shared memory that is in another process's core: its mapping, and whose."""


@contextmanager
def prepared(
    process: Process,
    held: Sequence[elf.Thread],
    limit: int,
    shared: Shared,
    architecture: str = platform.machine(),
    most: int = MAX_THREADS,
    page_map: Callable[[int], Pages] = Pages,
) -> Iterator[Core]:
    """Open a process's memory and plan its core, of `limit` bytes at most.

    `held` are the threads whose registers are known; `most` threads are named in it. Raises
    `OSError`, and `Unavailable` on a machine whose registers we do not know.
    """
    machine = elf.MACHINES.get(architecture)
    if machine is None:
        message = f"Cores are not known for machines of type {architecture}"
        raise Unavailable(message, reason="NotSupported")
    flags = os.O_RDONLY | os.O_CLOEXEC
    with (
        opened(os.open("mem", flags, dir_fd=process.folder)) as memory,
        opened(os.open("pagemap", flags, dir_fd=process.folder)) as pagemap,
    ):
        found = mappings(process)
        plan = CorePlan(limit)
        core = Core(b"", CoreReader(process, memory, plan), plan, found.rows, found.more, 0, 0, 0)
        _plan(core, process, page_map(pagemap), shared)
        # Of what has ended the page map is empty, as if nothing had ever been there.
        core.reader.gone = _is_gone(memory)
        core.head = elf.head(
            machine, plan.sorted_segments(), _notes(core, process, machine, held, most)
        )
        try:
            yield core
        finally:
            core.reader.close()


def forget(shared: Shared, pid: int) -> None:
    """Let other cores have the shared memory that was to be in the core of `pid`."""
    for key in [key for key, holder in shared.items() if holder == pid]:
        del shared[key]


def _is_gone(memory: int) -> bool:
    """Whether the address space that a descriptor is of has ended: a page that is not mapped is an
    error only while it lives."""
    with suppress(OSError):
        return not os.pread(memory, 1, 0)
    return False


def _plan(core: Core, process: Process, pages: Pages, shared: Shared) -> None:
    """Plan the smallest mappings first: where there is a limit, it cuts the largest."""
    for mapping in sorted(core.rows, key=lambda each: each.size):
        raise_if_abandoned()
        sort = mapping.sort
        if sort in {MappingKind.DEVICE, MappingKind.KERNEL}:
            core.omitted[sort.value] += mapping.size
            continue
        if _is_elsewhere(core, mapping, process.pid, shared):
            core.plan.omit(mapping)
            continue
        stored = 0 if sort is MappingKind.SHARED else core.plan.add(process, mapping, pages)
        if sort is MappingKind.SHARED:
            core.plan.omit(mapping)
        if sort in {MappingKind.SHARED, MappingKind.MODIFIED}:
            core.unmodified += mapping.size - stored


def _is_elsewhere(core: Core, mapping: Mapping, pid: int, shared: Shared) -> bool:
    """Whether another process's core has it: shared memory may be as large as all the rest."""
    if not (mapping.shared and mapping.sort is MappingKind.NAMELESS and mapping.size >= LARGE):
        return False
    key = mapping.device, mapping.inode, mapping.offset, mapping.size
    holder = shared.setdefault(key, pid)
    if holder == pid:
        return False
    core.omitted["elsewhere"] += mapping.size
    core.elsewhere[f"{mapping.start:x}-{mapping.end:x}"] = holder
    return True


def _notes(
    core: Core, process: Process, machine: elf.Machine, held: Sequence[elf.Thread], most: int
) -> bytes:
    info = _info(process)
    notes = bytearray()
    for position, thread in enumerate(_all_threads(process, machine, held, most)):
        raise_if_abandoned()
        core.threads += 1
        core.bare += len(thread.general) != machine.registers or not thread.floating
        number = _own_number(process, thread.number)
        notes += elf.thread_notes(machine, replace(thread, number=number), info.family)
        if not position:
            notes += _shared_notes(core, process, info)
    if core.threads >= most:
        core.bare += max(process.count("task") - core.threads, 0)
    return bytes(notes) if core.threads else _shared_notes(core, process, info)


def _shared_notes(core: Core, process: Process, info: elf.Info) -> bytes:
    """Return what is of the process as a whole; it follows the first thread."""
    named = [row for row in core.rows if row.inode and row.path.startswith(b"/")]
    files, core.unnamed = elf.file_note((row.start, row.end, row.offset, row.path) for row in named)
    auxv = process.read("auxv", MAX_AUXV)
    return elf.info_note(info) + elf.auxv_note(auxv) + files


def _all_threads(
    process: Process, machine: elf.Machine, held: Sequence[elf.Thread], most: int
) -> Iterator[elf.Thread]:
    """Yield its threads, the first one first; of those not held, what /proc tells."""
    known = {thread.number: thread for thread in held if len(thread.general) == machine.registers}
    numbers = process.numbers("task", most)
    for number in sorted(numbers, key=lambda each: each != process.pid):
        yield known.get(number) or elf.Thread(number, _pointers(process, machine, number))


def _own_number(process: Process, number: int) -> int:
    """Return the number that a thread has for itself, as in cores that the kernel writes.

    Debuggers look for that one in the C library's own list of threads.
    """
    with suppress(OSError, KeyError):
        return int(_fields(process.read(f"task/{number}/status"))[b"NSpid"].split()[-1])
    return number


def _pointers(process: Process, machine: elf.Machine, number: int) -> bytes:
    """Return registers that hold the program counter and stack pointer of a waiting thread."""
    with suppress(OSError, ValueError):
        # Call, arguments, stack pointer, program counter; a thread that does not wait is `running`.
        words = process.read(f"task/{number}/syscall", 256).split()
        if len(words) >= 3:
            return elf.pointers(machine, int(words[-1], 16), int(words[-2], 16))
    return b""


def _info(process: Process) -> elf.Info:
    # Behind the name in brackets: the first of these is field 3, the parent 4, the niceness 19.
    stat = process.read("stat", 4096).rpartition(b")")[2].split()
    status = _fields(process.read("status"))
    own = (int(status[name].split()[-1]) for name in (b"NSpgid", b"NSsid"))
    return elf.Info(
        pid=int(status[b"NSpid"].split()[-1]),
        family=elf.ProcessGroup(int(stat[1]), *own),
        state=stat[0].decode(),
        nice=int(stat[16]),
        uid=int(status[b"Uid"].split()[0]),
        gid=int(status[b"Gid"].split()[0]),
        command=process.read("comm", 64).rstrip(b"\n"),
        arguments=process.read("cmdline", 80).replace(b"\0", b" ").rstrip(),
    )


def _fields(status: bytes) -> MappingOf[bytes, bytes]:
    pairs = (line.partition(b":") for line in status.split(b"\n"))
    return {name: value for name, _, value in pairs}
