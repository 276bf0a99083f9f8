"""What nobody has read yet comes home byte for byte, and is still there afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.artifacts import deleted, kept
from tests.unit.collector.artifacts.test_deleted import Evidence, bring_home
from tests.unit.collector.node.test_deletedfiles import holding
from tests.unit.collector.node.test_kernel_objects import ADD_KEY, KEYCTL, permitted
from tests.unit.collector.node.test_unlisted import QUEUES

KERNEL_IN_SIGHT = permitted()

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other users' processes")


def unread(found: Evidence) -> dict[str, bytes]:
    """Return what waited, by the kind of it."""
    rows = found.rows
    return {
        rows[name]["deleted"]["how"]: data
        for name, data in found.content.items()
        if name.startswith("unread/")
    }


async def test_pipes_and_sockets_keep_what_was_copied_from_them(tmp_path: Path) -> None:
    script = """
import socket
a = os.pipe(); os.write(a[1], b"in a pipe")
b = socket.socketpair(); b[0].send(b"in a "); b[0].send(b"socket")
l = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(l.getsockname())
d, _ = l.accept(); c.send(b"over TCP")
"""
    with holding(tmp_path, script) as pid:
        first = await bring_home(tmp_path / "1", [pid])
        second = await bring_home(tmp_path / "2", [pid])
    for found in (first, second):
        assert not found.gaps
        assert sorted(found.content.values()) == [b"in a pipe", b"in a socket", b"over TCP"]
        assert set(unread(found)) == {"unread in pipe", "unread in socket"}
    (row,) = (row for row in first.rows.values() if "pipe" in row["deleted"]["how"])
    assert row["deleted"]["originalPath"].startswith("pipe:[")
    assert row["deleted"]["waiting"] == 9 and row["inode"]


async def test_a_file_on_its_way_through_a_socket(tmp_path: Path) -> None:
    script = """
import socket
file = gone("open", b"1234567"); named = open(folder + "/named", "w")
a, b = socket.socketpair(); c, d = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
e, f = socket.socketpair()
socket.send_fds(a, [b"x"], [file.fileno()]); file.close()
other = gone("other", b"other"); socket.send_fds(c, [b"y"], [other.fileno()]); other.close()
socket.send_fds(e, [b"z"], [named.fileno()])
"""
    with holding(tmp_path, script) as pid:
        found = await bring_home(tmp_path / "bundle", [pid])
    files = [row for row in found.rows.values() if row["deleted"]["how"] == "file in a socket"]
    names = {row["deleted"]["originalPath"].rpartition("/")[2] for row in files}
    assert names == {"open", "other"} and b"1234567" in found.content.values()
    # One that has a name is where that is; behind the first datagram there may be more.
    gaps = {gap.what.partition(":")[0]: gap.message for gap in found.gaps}
    assert set(gaps) == {"files in socket", "unread in sockets and terminals"}
    assert f"{tmp_path}/named" in gaps["files in socket"] and "1 in all" in "".join(gaps.values())


async def test_bytes_past_what_there_is_room_for_are_counted(tmp_path: Path) -> None:
    script = "import socket\na = os.pipe(); os.write(a[1], b'0123456789')"
    limits = deleted.DeletedLimits(kept=kept.KeptLimits(unread=4))
    with holding(tmp_path, script) as pid:
        found = await bring_home(tmp_path / "bundle", [pid], limits=limits)
    assert unread(found) == {"unread in pipe": b"0123"}
    (gap,) = found.gaps
    assert gap.size == 10 and "Only the first 4 of 10 are stored" in gap.message


async def test_messages_in_a_queue_are_copied_and_stay(tmp_path: Path) -> None:
    more = """
queue = libc.msgget(0xCAFE, 0)
libc.msgsnd(queue, ctypes.create_string_buffer(b"\\7\\0\\0\\0\\0\\0\\0\\0!", 9), 1, 0)
"""
    with holding(tmp_path, QUEUES + more) as pid:
        for number in "12":
            found = await bring_home(tmp_path / number, [pid])
            kept = {name: data for name, data in found.content.items() if "/mqueue/" not in name}
            ((name, data),) = kept.items()
            assert data == b"secret!"
            # What is in a POSIX queue is in sight in the kernel's memory only.
            hidden = [data for other, data in found.content.items() if other != name]
            assert hidden == [b"secret!"] * KERNEL_IN_SIGHT
            assert [gap.path for gap in found.gaps] == ["/hidden"] * (not KERNEL_IN_SIGHT)
    facts = found.rows[name]["deleted"]
    assert name.startswith(f"unread/{pid}/sysvipc/msg/") and facts["how"] == "messages"
    assert facts["messages"] == [{"type": 1, "size": 6}, {"type": 7, "size": 1}]


@pytest.mark.skipif(not KERNEL_IN_SIGHT, reason="this kernel shows us none of its memory")
async def test_terminals_and_keys_keep_what_is_read_in_the_kernels_memory(tmp_path: Path) -> None:
    script = f"""
import pty
call = ctypes.CDLL(None).syscall; call({KEYCTL}, 1, None)
call({ADD_KEY}, b"user", b"stolen", b"token", 5, -3)
master, line = pty.openpty(); os.write(line, b"on screen")
"""
    with holding(tmp_path, script) as pid:
        first = await bring_home(tmp_path / "1", [pid])
        second = await bring_home(tmp_path / "2", [pid])
    for found in (first, second):
        assert not found.gaps
        assert unread(found) == {"unread in terminal": b"on screen", "key": b"token"}
    (row,) = (row for row in first.rows.values() if row["deleted"]["how"] == "key")
    assert (row["deleted"]["originalPath"], row["deleted"]["type"]) == ("stolen", "user")


async def test_a_message_that_is_too_long_is_told(tmp_path: Path) -> None:
    script = """
libc = ctypes.CDLL(None); assert not libc.unshare(0x08000000)
open("/proc/sys/kernel/msgmax", "w").write("200000")
open("/proc/sys/kernel/msgmnb", "w").write("400000")
queue = libc.msgget(0xCAFE, 0o1600)
for size in (5, 100000):
    libc.msgsnd(queue, ctypes.create_string_buffer(b"\\1" + bytes(7) + b"x" * size), size, 0)
"""
    with holding(tmp_path, script) as pid:
        found = await bring_home(tmp_path / "bundle", [pid])
    assert list(found.content.values()) == [b"xxxxx"]
    assert ", but for the first 1 of 2" in found.gaps[0].message


async def test_a_queue_that_is_too_full_is_told(tmp_path: Path) -> None:
    script = """
libc = ctypes.CDLL(None); assert not libc.unshare(0x08000000)
open("/proc/sys/kernel/msgmax", "w").write("65536")
open("/proc/sys/kernel/msgmnb", "w").write("4000000")
queue = libc.msgget(0xCAFE, 0o1600)
for _ in range(18):
    libc.msgsnd(queue, ctypes.create_string_buffer(b"\\1" + bytes(7) + b"x" * 65536), 65536, 0)
"""
    with holding(tmp_path, script) as pid:
        found = await bring_home(tmp_path / "bundle", [pid])
    assert [len(data) for data in found.content.values()] == [16 * 65536]
    assert ", but for the first 16 of 18" in found.gaps[0].message
    assert found.gaps[0].size == 18 * 65536


async def test_a_file_that_is_held_elsewhere_too_comes_once(tmp_path: Path) -> None:
    script = """
import socket
file = gone("open", b"1234567"); a, b = socket.socketpair()
socket.send_fds(a, [b"x"], [file.fileno()])
"""
    with holding(tmp_path, script) as pid:
        found = await bring_home(tmp_path / "bundle", [pid])
    assert not found.gaps and sorted(found.content.values()) == [b"1234567", b"x"]


async def test_more_segments_and_namespaces_than_are_read_are_told(tmp_path: Path) -> None:
    script = """
libc = ctypes.CDLL(None); assert not libc.unshare(0x08000000)
for number in range(202):
    assert libc.shmget(number + 1, ctypes.c_size_t(4096), 0o1600) >= 0
"""
    with holding(tmp_path, script) as pid:
        found = await bring_home(tmp_path / "bundle", [pid])
    assert len(found.rows) == 201
    (gap,) = found.gaps
    assert (gap.what, gap.reason) == ("shared memory, of some namespaces", "TooMany")
    assert "More than 200 segments" in gap.message


@pytest.mark.skipif(not KERNEL_IN_SIGHT, reason="this kernel shows us none of its memory")
async def test_terminals_with_one_name_in_two_file_systems_are_two(tmp_path: Path) -> None:
    script = """
libc = ctypes.CDLL(None); assert not libc.unshare(0x00020000); ends = []
assert not libc.mount(b"none", b"/", None, 0x44000, None)
for number in range(2):
    assert not libc.mount(b"devpts", b"/dev/pts", b"devpts", 0, b"newinstance,ptmxmode=0666")
    ends.append(os.open("/dev/pts/ptmx", os.O_RDWR))
    libc.ioctl(ends[-1], 0x40045431, ctypes.byref(ctypes.c_int(0)))
    ends.append(os.open("/dev/pts/0", os.O_RDWR | os.O_NOCTTY))
    os.write(ends[-1], b"screen %d" % number)
"""
    with holding(tmp_path, script) as pid:
        found = await bring_home(tmp_path / "bundle", [pid])
    waiting = [data for name, data in found.content.items() if name.startswith("unread/")]
    assert sorted(waiting) == [b"screen 0", b"screen 1"]
