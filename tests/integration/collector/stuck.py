"""A file system that answers for a while, and then never again, as a network's does.

It speaks the kernel's own protocol for file systems of users, over /dev/fuse.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE, ANSWERED = 3 * 1024**2, 1024**2
"""Bytes of its one file, and how many of them can be read."""
NAME = "file"
_LOOKUP, _GETATTR, _UNLINK, _OPEN, _READ, _FLUSH, _INIT, _OPENDIR, _READDIR = (
    *(1, 3, 10, 14, 15, 25, 26, 27, 28),
)
_SILENT = {2, 36, 42}
"""FORGET, INTERRUPT, BATCH_FORGET: nobody waits for an answer."""


def _attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o644
    size = SIZE if node == 2 else 0
    return struct.pack("=6Q10I", node, size, size // 512, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 0, 0)


def _listing(offset: int, names: dict[str, int]) -> bytes:
    rows = [
        struct.pack("=QQII", node, place, len(name), stat.S_IFREG >> 12)
        + name.encode().ljust(-(-len(name) // 8) * 8, b"\0")
        for place, (name, node) in enumerate(names.items(), 1)
    ]
    return b"".join(rows[offset:])


def _content(node: int, offset: int, size: int) -> tuple[int, bytes] | None:
    if node != 2:
        return 0, b""
    return (0, b"x" * size) if offset + size <= ANSWERED else None


def _answer(opcode: int, node: int, body: bytes, names: dict[str, int]) -> tuple[int, bytes] | None:
    """Return an error and a body; nothing where no answer will ever come."""
    if opcode == _INIT:
        return 0, struct.pack("=4I2H2I2H8I", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0, *[0] * 8)
    if opcode == _LOOKUP and (found := names.get(body.rstrip(b"\0").decode())):
        return 0, struct.pack("=4Q2I", found, 0, 9999, 9999, 0, 0) + _attributes(found)
    if opcode == _GETATTR:
        return 0, struct.pack("=QII", 9999, 0, 0) + _attributes(node)
    if opcode in {_OPEN, _OPENDIR}:
        return 0, struct.pack("=QII", 0, 1, 0)
    if opcode == _READDIR:
        return 0, _listing(struct.unpack_from("=QQ", body)[1], names)
    if opcode == _READ:
        return _content(node, *struct.unpack_from("=QQI", body)[1:])
    if opcode in {_UNLINK, _FLUSH}:
        return 0, b""
    return (-errno.ENOENT if opcode == _LOOKUP else -errno.ENOSYS), b""


def _serve(device: int, names: dict[str, int]) -> None:
    while True:
        try:
            request = os.read(device, 256 * 1024)
        except OSError:  # it was unmounted
            return
        length, opcode, unique, node = struct.unpack_from("=IIQQ", request)
        if opcode in _SILENT:
            continue
        if answer := _answer(opcode, node, request[40:length], names):
            error, body = answer
            os.write(device, struct.pack("=IiQ", 16 + len(body), error, unique) + body)


@contextmanager
def stuck(point: Path, beside: str = "") -> Iterator[Path]:
    """Mount it at a directory; yield its file that hangs, `beside` which an empty one may lie."""
    names = ({beside: 3} if beside else {}) | {NAME: 2}
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.mount(b"stuck", os.fsencode(point), b"fuse", 0, options.encode())
    assert result == 0, os.strerror(ctypes.get_errno())
    server = threading.Thread(target=_serve, args=(device, names), daemon=True)
    server.start()
    try:
        yield point / NAME
    finally:
        # Whoever still waits for an answer gets an error then.
        subprocess.run(["umount", "-f", "-l", str(point)], check=False)
        os.close(device)
        server.join(10)
