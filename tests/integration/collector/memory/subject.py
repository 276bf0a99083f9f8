"""A process that has something of every sort in its memory; runs in a container, by itself.

It hides its words in parts, so that they are found where it put them and not in its source.
"""

import ctypes
import mmap
import os
import sys
import threading
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 5]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.madvise.argtypes = LIBC.mprotect.argtypes
TERABYTES = 4 << 40


def word(name: str) -> bytes:
    return b"-".join([b"canary", b"4711", name.encode()])


heap = ctypes.create_string_buffer(word("heap"))
rwx = mmap.mmap(-1, 8192, prot=7)
rwx[:64] = word("rwx").ljust(64)

none = LIBC.mmap(None, 1 << 20, 3, 0x22, -1 & (2**64 - 1), 0)
ctypes.memmove(none, word("none"), 16)
LIBC.madvise(none, 1 << 20, 16)  # MADV_DONTDUMP
LIBC.mprotect(none, 1 << 20, 0)

sparse = LIBC.mmap(None, TERABYTES, 3, 0x4022, -1 & (2**64 - 1), 0)
ctypes.memmove(sparse + TERABYTES // 2, word("sparse"), 18)

with Path("/tmp/lib.so").open("w+b") as file:
    file.write(b"Q" * 8192 + word("deleted").ljust(4096))
    file.flush()
    deleted = mmap.mmap(file.fileno(), 12288, flags=mmap.MAP_PRIVATE, prot=5)
Path("/tmp/lib.so").unlink()

with Path("/tmp/data").open("w+b") as file:
    file.write(b"D" * (1 << 20))
    file.flush()
    data = mmap.mmap(file.fileno(), 1 << 20, flags=mmap.MAP_PRIVATE)
data[40000:40064] = word("modified").ljust(64)

memfd = os.memfd_create("evil")
os.ftruncate(memfd, 1 << 30)
os.pwrite(memfd, word("memfd"), 1 << 29)
shared = mmap.mmap(memfd, 1 << 30)

for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()

if "fork" in sys.argv and not os.fork():
    heap.value = word("child")
    Path("/child").touch()
    threading.Event().wait()
Path("/ready").touch()
threading.Event().wait()
