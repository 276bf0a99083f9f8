"""Programs, maps and links of eBPF that the kernel holds, by their ids.

Asked for with bpf(2) itself, which needs `SYS_ADMIN`: no program of the node's is run. Opening an
object by its id changes nothing of it::

    for row in objects("program"): ...

Source: bpf(2), include/uapi/linux/bpf.h
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Container, Iterable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from time import CLOCK_BOOTTIME, CLOCK_REALTIME, clock_gettime_ns
from typing import NamedTuple

from collector.documents import portable
from collector.node.abandonable import raise_if_abandoned
from collector.node.ebpf_links import link_fields
from collector.node.ebpf_values import values
from collector.node.ebpf_words import LINK_TYPES, MAP_TYPES, PROGRAM_TYPES
from collector.node.netlink_fields import NetlinkRow

_CALL = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "ppc64le": 361,
    "s390x": 351,
    "armv7l": 386,
    "i686": 357,
}
"""The number of bpf(2), by machine."""
_INFO_BY_FD = 15
_NAME = 512
"""Bytes of the longest name that a link is asked for."""
MAX_MAPS = 1024
"""Maps of one program that are named."""
_libc = ctypes.CDLL(None, use_errno=True)


class _BpfKind(NamedTuple):
    """One sort of object, by the commands for it."""

    following: int
    opening: int
    size: int
    """Bytes of what the kernel tells of one, as much as is asked for here."""


_SORTS = {
    "program": _BpfKind(11, 13, 232),
    "map": _BpfKind(12, 14, 88),
    "link": _BpfKind(31, 30, 64),
}


def objects(
    sort: str, ids: Iterable[int] | None = None, with_values: Container[int] = ()
) -> Iterator[NetlinkRow]:
    """Yield each `program`, `map` or `link`, or those of some ids.

    Of the maps `with_values`, what is in them, too.

    Raises `OSError` where the kernel does not tell.
    """
    for number in _ids(_SORTS[sort]) if ids is None else ids:
        raise_if_abandoned()
        try:
            descriptor = call_bpf(_SORTS[sort].opening, struct.pack("=III", number, 0, 0))[0]
        except FileNotFoundError:
            continue  # it went meanwhile
        with closing(os.fdopen(descriptor, "rb", buffering=0)):
            row = _DESCRIBE[sort](descriptor)
            if sort == "map" and number in with_values:
                row |= values(call_bpf, descriptor, row["type"], row["keySize"], row["valueSize"])
            yield row


def _ids(sort: _BpfKind) -> Iterator[int]:
    number = 0
    while True:
        try:
            told = call_bpf(sort.following, struct.pack("=III", number, 0, 0))[1]
        except FileNotFoundError:
            return  # that was the last
        number = struct.unpack_from("=I", told, 4)[0]
        yield number


def call_bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """Call bpf(2); return its result, and what became of the attributes. Raises `OSError`."""
    call = _CALL.get(platform.machine())
    if call is None:
        raise OSError(errno.ENOSYS, f"bpf(2) of {platform.machine()} is not known here")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = int(_libc.syscall(call, command, buffer, len(attributes)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"bpf(2) is refused: {os.strerror(code)}")
    return result, buffer.raw


def _info(descriptor: int, info: ctypes.Array[ctypes.c_char]) -> None:
    attributes = struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info))
    call_bpf(_INFO_BY_FD, attributes)


_PROGRAM = struct.Struct("=II8sIIQQQIIQ16sI4xQQ")
_STATISTICS = struct.Struct("=QQQ")


def _program(descriptor: int) -> NetlinkRow:
    """Return what is told of a program; twice asked, the second time for its maps."""
    size = _SORTS["program"].size
    info = ctypes.create_string_buffer(size)
    _info(descriptor, info)
    count = min(_PROGRAM.unpack_from(info.raw)[9], MAX_MAPS)
    maps = (ctypes.c_uint32 * count)()
    told = ctypes.create_string_buffer(size)
    struct.pack_into("=IQ", told, 52, count, ctypes.addressof(maps) if count else 0)
    _info(descriptor, told)
    kind, number, tag, jited, xlated, _, _, loaded, uid, total, _, name, link, device, inode = (
        _PROGRAM.unpack_from(told.raw)
    )
    run_time, runs, missed = _STATISTICS.unpack_from(told.raw, 192)
    return {
        "id": number,
        "type": PROGRAM_TYPES.get(kind, kind),
        "name": portable(name.rstrip(b"\0")),
        "tag": tag.hex(),
        "loadedAt": since_boot(loaded),
        "uid": uid,
        "maps": list(maps),
        "mapsTotal": total,
        "instructionBytes": xlated,
        "jitedBytes": jited,
        "interface": link,
        "netnsDevice": device,
        "netnsInode": inode,
        "runTimeNs": run_time,
        "runs": runs,
        "recursionMisses": missed,
    }


_MAP = struct.Struct("=IIIIII16sIIQQ")


def _map(descriptor: int) -> NetlinkRow:
    info = ctypes.create_string_buffer(_SORTS["map"].size)
    _info(descriptor, info)
    kind, number, key, value, most, flags, name, link, _, device, inode = _MAP.unpack_from(info.raw)
    return {
        "id": number,
        "type": MAP_TYPES.get(kind, kind),
        "name": portable(name.rstrip(b"\0")),
        "keySize": key,
        "valueSize": value,
        "maxEntries": most,
        "flags": flags,
        "interface": link,
        "netnsDevice": device,
        "netnsInode": inode,
    }


def _link(descriptor: int) -> NetlinkRow:
    """Return what is told of a link: what hangs where."""
    name = ctypes.create_string_buffer(_NAME)
    info = ctypes.create_string_buffer(_SORTS["link"].size)
    _info(descriptor, info)
    kind, number, program = struct.unpack_from("=III", info.raw)
    word = LINK_TYPES.get(kind, kind)
    with_name = ctypes.create_string_buffer(_SORTS["link"].size)
    place = {"raw_tracepoint": 16, "iter": 16, "perf_event": 24}.get(str(word))
    if place is not None:
        struct.pack_into("=QI", with_name, place, ctypes.addressof(name), _NAME)
        with suppress(OSError):
            _info(descriptor, with_name)
            info = with_name
    return {"id": number, "type": word, "program": program} | link_fields(
        str(word), info.raw, name.value
    )


_DESCRIBE = {"program": _program, "map": _map, "link": _link}


def since_boot(nanoseconds: int) -> str:
    """Return a time that the kernel counts from the boot, as UTC by the clock of now."""
    boot = clock_gettime_ns(CLOCK_REALTIME) - clock_gettime_ns(CLOCK_BOOTTIME)
    return datetime.fromtimestamp((boot + nanoseconds) / 1e9, UTC).isoformat()
