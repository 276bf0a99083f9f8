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
    mode, size = (stat.S_IFDIR | 0o755, 0) if node == 1 else (stat.S_IFREG | 0o644, SIZE)
    return struct.pack("=6Q10I", node, size, size // 512, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 0, 0)


def _listing(offset: int) -> bytes:
    name = NAME.encode().ljust(8, b"\0")
    entry = struct.pack("=QQII", 2, 1, len(NAME), stat.S_IFREG >> 12)
    return b"" if offset else entry + name


def _answer(opcode: int, node: int, body: bytes) -> tuple[int, bytes] | None:
    """Return an error and a body; nothing where no answer will ever come."""
    if opcode == _INIT:
        return 0, struct.pack("=4I2H2I2H8I", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0, *[0] * 8)
    if opcode == _LOOKUP and body.rstrip(b"\0") == NAME.encode():
        return 0, struct.pack("=4Q2I", 2, 0, 9999, 9999, 0, 0) + _attributes(2)
    if opcode == _GETATTR:
        return 0, struct.pack("=QII", 9999, 0, 0) + _attributes(node)
    if opcode in {_OPEN, _OPENDIR}:
        return 0, struct.pack("=QII", 0, 1, 0)
    if opcode == _READDIR:
        return 0, _listing(struct.unpack_from("=QQ", body)[1])
    if opcode == _READ:
        _, offset, size = struct.unpack_from("=QQI", body)
        return (0, b"x" * size) if offset + size <= ANSWERED else None
    if opcode in {_UNLINK, _FLUSH}:
        return 0, b""
    return (-errno.ENOENT if opcode == _LOOKUP else -errno.ENOSYS), b""


def _serve(device: int) -> None:
    while True:
        try:
            request = os.read(device, 256 * 1024)
        except OSError:  # it was unmounted
            return
        length, opcode, unique, node = struct.unpack_from("=IIQQ", request)
        answer = _answer(opcode, node, request[40:length]) if opcode not in _SILENT else None
        if answer:
            error, body = answer
            os.write(device, struct.pack("=IiQ", 16 + len(body), error, unique) + body)


@contextmanager
def stuck(point: Path) -> Iterator[Path]:
    """Mount it at a directory; yield its one file."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.mount(b"stuck", os.fsencode(point), b"fuse", 0, options.encode())
    assert result == 0, os.strerror(ctypes.get_errno())
    server = threading.Thread(target=_serve, args=(device,), daemon=True)
    server.start()
    try:
        yield point / NAME
    finally:
        # Whoever still waits for an answer gets an error then.
        subprocess.run(["umount", "-f", "-l", str(point)], check=False)
        os.close(device)
        server.join(10)
