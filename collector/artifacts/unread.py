"""What nobody has read yet, put among the deleted files: `unread/1234/fd/5` in `deleted.tar`.

Bytes of pipes, of sockets, terminals and message queues, and payloads of keys were copied when they
were found, and wait in memory of this process; files that are on their way through a socket are
held. What is whole needs no gap.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any

from collector.files.statx import statx
from collector.node.deletedfiles import (
    DeletedFile,
    DeletedFileSearch,
    SharedDescriptor,
    memory_device,
)
from collector.node.kernel_keys import Key
from collector.node.kernel_look import Terminal
from collector.node.sharedmemory import Queue
from collector.node.unlisted import RING, KeptReference

FOLDER = "unread/"
_DELETED = b" (deleted)"


def add_all(found: DeletedFileSearch | None, kept: Iterable[KeptReference]) -> list[KeptReference]:
    """Add what can be; return what is missing, or not all there. It blocks."""
    return [each for each in kept if not (found and _add_kept(found, each))]


def _add_kept(found: DeletedFileSearch, kept: KeptReference) -> bool:
    """Add bytes, or files, that a process keeps; return whether nothing of it is missing."""
    if kept.how == "bytes" and kept.data:
        kind, _, rest = kept.name.partition(b":[")
        how = "unread in fifo" if kept.inode else f"unread in {kind.decode()}"
        inode = kept.inode or int(rest.rstrip(b"]"))
        facts = {"waiting": kept.count}
        _add(found, how, kept.name, kept.pid, kept.where, inode, kept.data, facts)
        return len(kept.data) == kept.count
    if kept.how == "files":
        there = [_add_file(found, kept, number) for number in range(len(kept.files))]
        return sum(there) >= kept.count
    return False


def add_queues(found: DeletedFileSearch, queues: Iterable[Queue]) -> list[Queue]:
    """Add the messages of queues; return those of which some are missing. It blocks."""
    return [each for each in queues if not _add_queue(found, each)]


def _add_queue(found: DeletedFileSearch, queue: Queue) -> bool:
    """Add the messages of a queue, one after the other; return whether none is missing."""
    if not queue.messages:
        return False
    facts = {
        "queue": queue.name,
        "messages": [{"type": each.kind, "size": len(each.data)} for each in queue.messages],
    }
    data = b"".join(each.data for each in queue.messages)
    number = queue.inode if queue.posix else int(queue.name)
    place, path = f"sysvipc/msg/{number}", b"/MSG%d" % number
    if queue.posix:
        place, path = f"mqueue/{number}", b"/" + os.fsencode(queue.name)
    _add(found, "messages", path, queue.pid, place, number, data, facts, queue.space)
    return len(queue.messages) >= queue.total


def add_terminals(found: DeletedFileSearch, unread: Iterable[tuple[Terminal, bytes]]) -> None:
    """Add what nobody has read from terminals. It blocks."""
    for terminal, data in unread:
        facts = {"waiting": len(data)}
        inode, how = terminal.inode, "unread in terminal"
        _add(found, how, terminal.link, terminal.pid, terminal.where, inode, data, facts)


def add_keys(found: DeletedFileSearch, keys: Iterable[Key]) -> None:
    """Add the payloads of keys. It blocks."""
    for key in keys:
        facts = {"serial": key.serial, "type": key.kind}
        place, path = f"keys/{key.serial:08x}", key.description
        _add(found, "key", path, key.pid, place, key.serial, key.payload, facts, b"key")


def _add(
    found: DeletedFileSearch,
    how: str,
    path: bytes,
    pid: int,
    place: str,
    inode: int,
    data: bytes,
    facts: Mapping[str, Any],
    space: bytes = b"",
) -> None:
    held = SharedDescriptor(os.memfd_create("unread", os.MFD_CLOEXEC))
    os.write(held.number, data)
    status = statx(held.number)._replace(inode=inode, birth=None)
    file = DeletedFile(how, path, pid, place, status, held, facts={**facts}, folder=FOLDER)
    # Not by the path: two file systems of terminals have both a /dev/pts/0, with one number.
    key = space or b"%d/" % pid
    found.files[memory_device(), inode, b"unread in " + key + place.encode()] = file


def _add_file(found: DeletedFileSearch, kept: KeptReference, number: int) -> bool:
    """Add a file of a socket, if it has no name any more: others are where they are called."""
    name, file = kept.files[number]
    status = statx(file.number)
    if not stat.S_ISREG(status.mode) or not name.endswith(_DELETED):
        return False
    path, place = name.removesuffix(_DELETED), f"{kept.where}/{number}"
    key = status.device, status.inode, b""
    if key not in found.files:
        ring = kept.name.startswith(RING)
        how = "file of io_uring" if ring else "file in a socket"
        found.files[key] = DeletedFile(
            how, path, kept.pid, place, status, file, holders=0, folder=FOLDER
        )
    return True
