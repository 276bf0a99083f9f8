"""What waits in the kernel of this machine, read without taking it out."""

from __future__ import annotations

import ctypes
import os
import pty
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from collector.node.btf import KERNEL, NoLayout, layouts
from collector.node.host import Host
from collector.node.kernel_keys import KernelKeys
from collector.node.kernel_look import InKernel, Terminal, look
from collector.node.kernel_memory import KernelMemory
from collector.node.kernel_objects import KernelObjects
from collector.node.registered import registered_files

LIBC = ctypes.CDLL(None, use_errno=True)
ADD_KEY, KEYCTL = {"x86_64": (248, 250)}.get(os.uname().machine, (217, 219))


def permitted() -> bool:
    try:
        with KernelObjects.opened():
            return True
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not permitted(), reason="this kernel shows us none of its memory")


@pytest.fixture
def kernel() -> Iterator[KernelObjects]:
    with KernelObjects.opened() as opened:
        yield opened


@pytest.fixture
def queue() -> Iterator[int]:
    name = f"/{secrets.token_hex(8)}".encode()
    limits = (ctypes.c_long * 8)(0, 10, 8192, 0)
    descriptor = LIBC.mq_open(name, os.O_RDWR | os.O_CREAT, 0o600, limits)
    assert descriptor >= 0
    yield descriptor
    LIBC.mq_unlink(name)
    os.close(descriptor)


def test_messages_of_a_posix_queue_in_the_order_of_receiving(
    kernel: KernelObjects, queue: int
) -> None:
    long = secrets.token_bytes(8192)
    for data, priority in ((b"late", 0), (long, 3), (b"first", 7), (b"second", 7)):
        assert LIBC.mq_send(queue, data, len(data), priority) == 0
    wanted = [(7, b"first"), (7, b"second"), (3, long), (0, b"late")]
    assert [*map(tuple, kernel.messages(queue))] == wanted
    buffer = ctypes.create_string_buffer(8192)
    for _, data in wanted:  # all of them are still there
        size = LIBC.mq_receive(queue, buffer, 8192, None)
        assert buffer.raw[:size] == data
    assert kernel.messages(queue) == []


def test_what_nobody_has_read_from_a_terminal(kernel: KernelObjects) -> None:
    master, line = pty.openpty()
    os.write(line, b"unread\n")
    inode = os.fstat(master).st_ino
    place, data = kernel.terminal(os.getpid(), master, inode)
    assert data == b"unread\r\n" and place
    assert os.read(master, 100) == b"unread\r\n"
    assert kernel.terminal(os.getpid(), master, inode)[1] == b""
    os.write(master, b"typed\n")
    assert kernel.terminal(os.getpid(), line, os.fstat(line).st_ino)[1] == b"typed\n"
    with pytest.raises(FileNotFoundError, match="another file"):
        kernel.terminal(os.getpid(), master, inode + 1)
    for each in (master, line):
        os.close(each)


def read_all(terminal: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += os.read(terminal, size - len(found))
    return found


def test_a_terminal_whose_buffer_has_gone_round(kernel: KernelObjects) -> None:
    master, line = pty.openpty()
    for number in range(60):
        os.write(line, b"%0100d" % number)
        if number < 59:
            assert read_all(master, 100) == b"%0100d" % number
    assert kernel.terminal(os.getpid(), master, os.fstat(master).st_ino)[1] == b"%0100d" % 59
    for each in (master, line):
        os.close(each)


KEYS = f"""
import ctypes, sys
call = ctypes.CDLL(None).syscall
call({KEYCTL}, 1, None)  # a session keyring of its own
for number in range(40):  # more than one node of the tree holds
    call({ADD_KEY}, b"user", b"stolen:%d" % number, b"secret %02d" % number, 9, -3)
call({ADD_KEY}, b"user", b"long", b"x" * 5000, 5000, -3)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def with_keys() -> Iterator[int]:
    """Run a process that has keys."""
    command = [sys.executable, "-c", KEYS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        yield process.pid


REGISTERED = """
import ctypes, os, sys
call = ctypes.CDLL(None).syscall
ring = call(425, 8, ctypes.create_string_buffer(120))
folder = sys.argv[1]
nameless = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
named = os.open(folder + "/named", os.O_CREAT | os.O_RDWR, 0o600)
os.write(nameless, b"only io_uring"); os.write(named, b"elsewhere")
call(427, ring, 2, ctypes.byref((ctypes.c_int * 2)(nameless, named)), 2)
os.close(nameless); os.close(named)
print(ring, flush=True)
sys.stdin.read()
"""


def test_files_that_only_io_uring_holds(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REGISTERED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        ring = int(process.stdout.readline())
        if ring < 0:
            pytest.skip("this kernel grants no io_uring")
        try:
            files = registered_files(process.pid, f"fd/{ring}", Host())
        except NoLayout:
            pytest.skip("this kernel keeps them in another way")
        with pytest.raises(FileNotFoundError, match="another file"), KernelObjects.opened() as it:
            assert not [*it.registered(process.pid, ring, 1)]
    if not files:
        pytest.skip("the files are on no file system of the ext family")
    nameless, named = files
    assert nameless.name.startswith(str(tmp_path).encode() + b"/#")
    assert nameless.name.endswith(b" (deleted)")
    assert named.name == str(tmp_path / "named").encode()
    content = [Path(f"/proc/self/fd/{file.place.number}").read_bytes() for file in files]
    assert content == [b"only io_uring", b"elsewhere"]


def test_payloads_of_keys(kernel: KernelObjects) -> None:
    with with_keys() as pid:
        keys = {key.description: key for key in KernelKeys(kernel).of(pid)}
    payloads = {name: key.payload for name, key in keys.items() if name.startswith(b"stolen:")}
    assert payloads == {b"stolen:%d" % number: b"secret %02d" % number for number in range(40)}
    assert keys[b"long"].payload == b"x" * 5000
    assert keys[b"long"].kind == "user" and keys[b"long"].serial > 0


OUT_OF_SIGHT = f"""
import ctypes, os, sys, threading, time
call = ctypes.CDLL(None).syscall
os.setresuid({{user}}, {{user}}, {{user}})
call({KEYCTL}, 1, None)
def add(name, ring):
    assert call({ADD_KEY}, b"user", name, name, len(name), ring) > 0
add(b"of the user", -4)
added = threading.Event()
def work():
    add(b"of a thread", -1); added.set(); time.sleep(1000)
threading.Thread(target=work, daemon=True).start(); added.wait()
print("ready", flush=True)
sys.stdin.read()
"""


def test_keys_of_a_user_and_of_a_thread_that_no_list_shows() -> None:
    command = [sys.executable, "-c", OUT_OF_SIGHT.format(user=61_234)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        assert b"of the user" not in Path("/proc/keys").read_bytes()
        found = look([], [process.pid])
    payloads = {key.description: key.payload for key in found.keys.values()}
    assert payloads == {name: name for name in (b"of the user", b"of a thread")}


def test_a_key_of_a_type_that_is_not_read_is_counted(kernel: KernelObjects) -> None:
    script = KEYS.replace('b"user", b"long"', 'b"encrypted", b"long"')
    script = script.replace('b"x" * 5000, 5000', 'b"new default user:stolen:0 32", 28')
    command, keys = [sys.executable, "-c", script], KernelKeys(kernel)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        mine = [key for key in keys.of(process.pid) if key.description.startswith(b"stolen")]
    assert len(mine) == 40 and len(keys.missed) == 1


def test_more_keys_than_are_read_are_counted(kernel: KernelObjects) -> None:
    keys = KernelKeys(kernel, most=30)
    with with_keys() as pid:
        read = len([*keys.of(pid)])
    assert read < 30 and keys.missed


def test_keyrings_that_are_not_looked_into_are_counted(kernel: KernelObjects) -> None:
    with with_keys() as pid:
        # A thread has a folder in /proc, and is none of the kernel's list of processes.
        thread = Event()
        worker = Thread(target=thread.wait)
        worker.start()
        found = look([], [worker.native_id or 0, pid, 2**22 + 1])
        thread.set()
        worker.join()
    assert (found.processes, found.more) == (1, 0) and found.keys


def test_terminals_and_keys_of_a_container(tmp_path: Path) -> None:
    master, line = pty.openpty()
    os.write(line, b"unread")
    own, inode = os.getpid(), os.fstat(master).st_ino
    terminal = Terminal(own, f"fd/{master}", b"/dev/ptmx", inode)
    twice = terminal._replace(where=f"task/{own}/fd/{master}")
    gone = terminal._replace(where="fd/99999")
    with with_keys() as pid:
        found = look([terminal, twice, gone], [pid])
    assert found.unread == [(terminal, b"unread")] and found.unseen == 1
    assert len(found.keys) == 41 and (found.hidden, found.more, found.why) == (0, 0, "")
    for each in (master, line):
        os.close(each)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_without_the_right_it_is_told_what_was_not_looked_into() -> None:
    script = (
        "from collector.node.kernel_look import Terminal, look\n"
        "found = look([Terminal(1, 'fd/0', b'/dev/pts/0', 1)], [])\n"
        "print(found.unseen, found.unread, found.why)"
    )
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", script)
    done = subprocess.run(powerless, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 [] [Errno 1] bpf(2) is refused")


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_in_a_pid_namespace_within_another_processes_are_not_taken_for_its_own() -> None:
    script = (
        "from collector.node.kernel_look import Terminal, look\n"
        "found = look([Terminal(1, 'fd/0', b'/dev/pts/0', 1)], [1])\n"
        "print(found.unseen, found.unread, found.keys, found.why)"
    )
    within = ("unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script)
    done = subprocess.run(within, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 [] {} [Errno 18] the kernel numbers processes otherwise")


def test_of_a_container_without_any_nothing_is_read() -> None:
    assert look([], []) == InKernel()


def test_a_process_that_is_not_there(kernel: KernelObjects) -> None:
    with pytest.raises(ProcessLookupError):
        kernel.task(2**22 + 1)


def test_an_address_where_nothing_is() -> None:
    with KernelMemory.opened() as memory, pytest.raises(OSError, match="nothing is at 0x8"):
        memory.read(8, 8)


def test_what_the_kernel_does_not_describe(tmp_path: Path) -> None:
    nonsense, unknown, known = layouts(
        [{"file": ("nonsense",)}, {"nonsense": ("a",)}, {"file": ("f_inode",)}]
    )
    assert "no file.nonsense" in str(nonsense)
    assert "no nonsense.a" in str(unknown)
    assert not isinstance(known, NoLayout)
    with pytest.raises(FileNotFoundError):
        layouts([], tmp_path / "none")


def test_a_description_that_was_cut_is_none(tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(KERNEL.read_bytes()[:100_000])
    (found,) = layouts([{"file": ("f_inode",)}], tmp_path / "cut")
    assert isinstance(found, NoLayout)
