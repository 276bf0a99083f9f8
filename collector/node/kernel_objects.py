"""What waits in the kernel and no call shows without taking it out: read in its memory instead.

Messages in a POSIX queue, files of a ring, bytes that nobody has read from a terminal; keys are in
`collector.node.kernel_keys`::

    with KernelObjects.opened() as kernel:
        messages = kernel.messages(descriptor)

Everything is checked and bounded, for it may change while it is read: then some of it is missing.

Source: ipc/mqueue.c, drivers/tty/n_tty.c
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import NamedTuple

from collector.node.btf import NoLayout, StructLayout, layouts
from collector.node.kernel_memory import KernelMemory
from collector.node.messages import MAX_MESSAGE, MAX_MESSAGES, QueuedMessage
from collector.node.numbers import latest
from collector.node.procfs import host_proc

MAX_TASKS = 65_536
"""Processes of the machine that are passed by on the way to one."""
MAX_FILES = 256
"""Files of one ring that are looked at."""
MAX_NAME = 4095
_TERMINAL = 4096
"""Bytes that the kernel keeps of what a terminal's reader has still to read."""
_BUFFERS = 1024
_TASKS = {
    "task_struct": ("tasks", "pid", "files", "cred", "group_leader", "signal", "thread_node"),
    "signal_struct": ("thread_head",),
    "files_struct": ("fdt",),
    "fdtable": ("max_fds", "fd"),
    "file": ("f_inode", "private_data"),
    "inode": ("i_ino", "i_generation", "i_sb"),
}
_QUEUES = {
    "mqueue_inode_info": ("vfs_inode", "msg_tree"),
    "posix_msg_tree_node": ("rb_node", "msg_list", "priority"),
    "rb_node": ("rb_left", "rb_right"),
    "msg_msg": ("m_ts", "next"),
}
_TERMINALS = {
    "tty_file_private": ("tty",),
    "tty_struct": ("disc_data", "ldisc", "name", "port"),
    "tty_port": ("buf",),
    "tty_bufhead": ("head",),
    "tty_buffer": ("next", "commit", "read", "data"),
    "tty_ldisc": ("ops",),
    "tty_ldisc_ops": ("name",),
    "n_tty_data": ("read_head", "read_tail", "read_buf"),
}
_KEYS = {
    "key": ("serial", "type", "description", "payload", "keys"),
    "key_type": ("name",),
    "cred": ("session_keyring", "process_keyring", "thread_keyring", "user", "user_ns"),
    "user_struct": ("uid",),
    "user_namespace": ("user_keyring_register",),
    "user_key_payload": ("datalen", "data"),
    "assoc_array_node": ("slots",),
    "assoc_array_shortcut": ("next_node",),
}
_RINGS = {
    "io_ring_ctx": ("file_table",),
    "io_file_table": ("data",),
    "io_rsrc_data": ("nr", "nodes"),
    "io_rsrc_node": ("file_ptr",),
    "super_block": ("s_dev", "s_type"),
    "file_system_type": ("name",),
}
"""Since Linux 6.13."""
_GROUPS = (_TASKS, _QUEUES, _TERMINALS, _KEYS, _RINGS)
"""All are looked up at once; a kernel that lacks one of a group may have the others."""


class Inode(NamedTuple):
    """A file, as its file system knows it."""

    kind: bytes
    """The type of file system: `ext4`."""
    device: int
    number: int
    generation: int


@cache
def _groups() -> list[dict[str, StructLayout] | NoLayout]:
    return layouts(_GROUPS)


def _group(number: int) -> dict[str, StructLayout]:
    found = _groups()[number]
    if isinstance(found, NoLayout):
        raise NoLayout(str(found))
    return found


def _layout(structure: str) -> StructLayout:
    (number,) = (number for number, each in enumerate(_GROUPS) if structure in each)
    return _group(number)[structure]


@dataclass(slots=True)
class KernelObjects:
    """For one thread. Everything raises `OSError` where something is not as it should be."""

    memory: KernelMemory
    _tasks: dict[int, int] = field(default_factory=dict)
    """Where each process is, by its number on the node."""

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[KernelObjects]:
        """Begin to read for the block. Raises `OSError` where the kernel does not let us."""
        _group(0)
        with KernelMemory.opened() as memory:
            yield cls(memory)

    def at(self, place: int, structure: str, member: str) -> int:
        """Return where a member of a structure is."""
        return place + _layout(structure).at[member]

    def pointer(self, place: int, structure: str, member: str) -> int:
        """Return where a member leads to."""
        return self.memory.word(self.at(place, structure, member))

    def text(self, place: int) -> bytes:
        """Return a string, which ends with its first zero: read in pieces, as a page may end."""
        found = b""
        while b"\0" not in found and len(found) < MAX_NAME:
            step = min(64, mmap.PAGESIZE - (place + len(found)) % mmap.PAGESIZE)
            found += self.memory.read(place + len(found), step)
        return found.partition(b"\0")[0]

    def task(self, pid: int) -> int:
        """Return where a process is. Raises `OSError` where /proc is of a PID namespace within."""
        if not self._tasks:
            self._tasks.update(self._walk_tasks())
        if pid not in self._tasks:
            raise ProcessLookupError(f"process {pid} was not found in the kernel's list")
        return self._tasks[pid]

    def _walk_tasks(self) -> Iterator[tuple[int, int]]:
        link = _layout("task_struct").at["tasks"]
        first = task = self.pointer(self.memory.current(), "task_struct", "group_leader")
        if self.memory.word(self.at(first, "task_struct", "pid"), 4) != latest(host_proc()):
            raise OSError(errno.EXDEV, "the kernel numbers processes otherwise than /proc does")
        for _ in range(MAX_TASKS):
            yield self.memory.word(self.at(task, "task_struct", "pid"), 4), task
            task = self.memory.word(task + link) - link
            if task == first:
                return

    def threads(self, task: int) -> Iterator[int]:
        """Yield where each thread of a process is. Raises `OSError`, also where they are many."""
        link = _layout("task_struct").at["thread_node"]
        head = self.at(self.pointer(task, "task_struct", "signal"), "signal_struct", "thread_head")
        node = self.memory.word(head)
        for _ in range(MAX_TASKS):
            if node == head:
                return
            yield node - link
            node = self.memory.word(node)
        raise OSError(errno.E2BIG, "a process has too many threads")

    def _file(self, task: int, descriptor: int) -> int:
        table = self.pointer(self.pointer(task, "task_struct", "files"), "files_struct", "fdt")
        if descriptor >= self.memory.word(self.at(table, "fdtable", "max_fds"), 4):
            raise FileNotFoundError(f"there is no descriptor {descriptor}")
        return self.memory.word(self.pointer(table, "fdtable", "fd") + 8 * descriptor)

    def messages(self, descriptor: int) -> list[QueuedMessage]:
        """Return the messages of the POSIX queue that is open here, in the order of receiving."""
        inode = self.pointer(self._file(self.memory.current(), descriptor), "file", "f_inode")
        if self.pointer(inode, "inode", "i_ino") != os.fstat(descriptor).st_ino:
            raise FileNotFoundError("the descriptor leads to another file")
        info = inode - _layout("mqueue_inode_info").at["vfs_inode"]
        root = self.pointer(info, "mqueue_inode_info", "msg_tree")
        nodes = sorted(self._nodes(root), reverse=True)
        found = (
            QueuedMessage(priority, data) for priority, node in nodes for data in self._list(node)
        )
        return [*islice(found, MAX_MESSAGES)]

    def _nodes(self, root: int) -> Iterator[tuple[int, int]]:
        """Yield priorities, and the nodes of a queue's tree."""
        waiting, link = [root] if root else [], _layout("posix_msg_tree_node").at["rb_node"]
        for _ in range(MAX_MESSAGES):
            if not waiting:
                return
            place = waiting.pop()
            node = place - link
            yield self.memory.word(self.at(node, "posix_msg_tree_node", "priority"), 4), node
            sides = (self.pointer(place, "rb_node", side) for side in ("rb_left", "rb_right"))
            waiting += filter(None, sides)

    def _list(self, node: int) -> Iterator[bytes]:
        head = self.at(node, "posix_msg_tree_node", "msg_list")
        message = self.memory.word(head)
        for _ in range(MAX_MESSAGES):
            if message == head:
                return
            yield self._message(message)
            message = self.memory.word(message)

    def _message(self, message: int) -> bytes:
        """Return the bytes of a message, of which each page has as much as it holds."""
        left = self.pointer(message, "msg_msg", "m_ts")
        if left > MAX_MESSAGE:
            raise FileNotFoundError("what is there is no message")
        head = _layout("msg_msg").size
        part = min(left, mmap.PAGESIZE - head)
        parts = [self.memory.read(message + head, part)]
        following = self.pointer(message, "msg_msg", "next")
        left -= part
        while left and following:
            part = min(left, mmap.PAGESIZE - 8)
            parts.append(self.memory.read(following + 8, part))
            following, left = self.memory.word(following), left - part
        return b"".join(parts)

    def registered(self, pid: int, descriptor: int, inode: int) -> Iterator[tuple[int, Inode]]:
        """Yield the files that are registered with a ring of io_uring, by their numbers in it."""
        file = self._file(self.task(pid), descriptor)
        if self.pointer(self.pointer(file, "file", "f_inode"), "inode", "i_ino") != inode:
            raise FileNotFoundError("the descriptor leads to another file")
        ring = self.pointer(file, "file", "private_data")
        table = self.at(self.at(ring, "io_ring_ctx", "file_table"), "io_file_table", "data")
        count = self.memory.word(self.at(table, "io_rsrc_data", "nr"), 4)
        nodes = self.pointer(table, "io_rsrc_data", "nodes")
        for number in range(min(count, MAX_FILES)):
            with suppress(OSError):
                node = self.memory.word(nodes + 8 * number)
                place = self.pointer(node, "io_rsrc_node", "file_ptr") & ~7  # below are flags
                yield number, self._beneath(place)

    def _beneath(self, file: int) -> Inode:
        """Return the inode of an open file; of one of an overlay, that of the file beneath."""
        found = self._inode(file)
        if found.kind != b"overlay":
            return found
        # Since Linux 6.13 two pointers are there, of which this one is the first.
        beneath = self.pointer(file, "file", "private_data")
        with suppress(OSError):
            return self._inode(self.memory.word(beneath))
        return self._inode(beneath)

    def _inode(self, file: int) -> Inode:
        inode = self.pointer(file, "file", "f_inode")
        block = self.pointer(inode, "inode", "i_sb")
        device = self.memory.word(self.at(block, "super_block", "s_dev"), 4)
        kind = self.pointer(block, "super_block", "s_type")
        return Inode(
            self.text(self.pointer(kind, "file_system_type", "name")),
            os.makedev(device >> 20, device & 0xFFFFF),
            self.pointer(inode, "inode", "i_ino"),
            self.memory.word(self.at(inode, "inode", "i_generation"), 4),
        )

    def terminal(self, pid: int, descriptor: int, inode: int) -> tuple[int, bytes]:
        """Return where the terminal is that a process has open, and what nobody has read of it."""
        file = self._file(self.task(pid), descriptor)
        place = self.pointer(file, "file", "f_inode")
        if self.pointer(place, "inode", "i_ino") != inode:
            raise FileNotFoundError("the descriptor leads to another file")
        tty = self.pointer(self.pointer(file, "file", "private_data"), "tty_file_private", "tty")
        name = self.text(self.at(tty, "tty_struct", "name"))
        lines = self.pointer(self.pointer(tty, "tty_struct", "ldisc"), "tty_ldisc", "ops")
        kind = self.text(self.pointer(lines, "tty_ldisc_ops", "name"))
        if not name.startswith((b"pt", b"tty")) or kind != b"n_tty":
            raise FileNotFoundError("it is no terminal of lines")
        unread = self._unread(self.pointer(tty, "tty_struct", "disc_data"))
        return tty, unread + b"".join(self._arrived(self.pointer(tty, "tty_struct", "port")))

    def _unread(self, data: int) -> bytes:
        head = self.pointer(data, "n_tty_data", "read_head")
        size, begin = head - (tail := self.pointer(data, "n_tty_data", "read_tail")), tail
        if not 0 <= size <= _TERMINAL:
            raise OSError(errno.EAGAIN, "what waits in the terminal changed while it was read")
        ring = self.memory.read(self.at(data, "n_tty_data", "read_buf"), _TERMINAL)
        return (ring + ring)[begin % _TERMINAL : begin % _TERMINAL + size]

    def _arrived(self, port: int) -> Iterator[bytes]:
        """Yield what waits until there is room among the unread."""
        buffer = self.pointer(self.at(port, "tty_port", "buf"), "tty_bufhead", "head")
        for _ in range(_BUFFERS):
            begin, end = (
                self.memory.word(self.at(buffer, "tty_buffer", each), 4)
                for each in ("read", "commit")
            )
            if 0 < end - begin <= MAX_MESSAGE:
                yield self.memory.read(self.at(buffer, "tty_buffer", "data") + begin, end - begin)
            buffer = self.pointer(buffer, "tty_buffer", "next")
            if not buffer:
                return
        raise OSError(errno.E2BIG, "more waits in the terminal than can be looked at")
