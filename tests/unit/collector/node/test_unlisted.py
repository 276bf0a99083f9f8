"""What an intruder keeps out of every listing is told: by threads, descriptors and namespaces."""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from collector.artifacts import kept as artifact
from collector.files.mounted import survey
from collector.node.process_row import describe
from collector.node.procfs import Boundary, Process, pids
from collector.node.programs import Programs
from collector.node.threads import SeparateThreads
from collector.node.unlisted import MAX_TABLE, UnlistedSearch
from forensics_core.bundle.manifest import NotCaptured
from tests.integration.collector.artifacts.test_processes import capture_for
from tests.integration.collector.conftest import Bundle
from tests.unit.collector.node.test_deletedfiles import gaps_of, holding, search
from tests.unprivileged import SYS_PTRACE, without

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other users' processes")

THREAD = """
import threading
libc = ctypes.CDLL(None)
begun = threading.Event()
def start(work):
    def run():
        work(); begun.set(); time.sleep(1000)
    threading.Thread(target=run, daemon=True).start(); begun.wait()
"""
PRIVATE = """
libc = ctypes.CDLL(None)
def private():
    assert not libc.unshare(0x00020000)
    assert not libc.mount(b"none", b"/", None, 0x44000, None)
def tmpfs():
    assert not libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, None)
    open(folder + "/secret", "w").write("secret")
"""
LEADER_ENDS = """
import threading
def work():
    while open(f"/proc/{os.getpid()}/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    print(os.getpid(), flush=True); time.sleep(1000)
a = gone("open", b"1234567")
threading.Thread(target=work).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""


def kept(*pids: int, max_table: int = MAX_TABLE) -> UnlistedSearch:
    found = UnlistedSearch(time.monotonic() + 60, max_table=max_table)
    found.look(pids)
    return found


def test_a_process_whose_first_thread_has_ended_is_read_by_another(tmp_path: Path) -> None:
    """`/proc/PID` of it shows no program, no arguments, no files: only `task` goes on."""
    with holding(tmp_path, LEADER_ENDS) as pid:
        (file,) = search(pid).files.values()
        assert (file.pid, file.size) == (pid, 7)
        with Process.open(pid) as process:
            row = describe(process)
        assert row["pid"] == pid and row["exe"] and row["fds"] and row["mountinfo"]
        assert row["status"]["Tgid"] == str(pid) != row["status"]["Pid"]
        assert Programs().look(pid, time.monotonic() + 60)
        assert survey([pid], "").mounts


def test_a_process_that_has_ended_is_no_other() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        with Process.open(child) as process:
            assert describe(process)["state"] == "Z"
        assert not survey([child], "").unseen
    finally:
        os.waitpid(child, 0)


def test_a_thread_with_a_mount_namespace_of_its_own(tmp_path: Path) -> None:
    script = THREAD + PRIVATE + "start(lambda: (private(), tmpfs()))"
    with holding(tmp_path, script) as pid:
        apart = SeparateThreads()
        apart.look([pid, 2**22 + 1])
        (thread,) = apart.threads
        assert thread != pid and not apart.unseen
        points = [seen.path for seen in survey([pid, thread], "").mounts]
        assert bytes(tmp_path) in points


def test_very_many_threads_are_not_all_looked_at(tmp_path: Path) -> None:
    with holding(tmp_path, THREAD + "start(lambda: None)") as pid:
        apart = SeparateThreads(left=1)
        apart.look([pid])
        assert (apart.threads, apart.unseen) == ([], 1)


def test_a_thread_with_a_list_of_open_files_of_its_own(tmp_path: Path) -> None:
    script = """
def work():
    global a
    assert not libc.unshare(0x400)
    a = gone("open", b"1234567")
start(work)
"""
    with holding(tmp_path, THREAD + script) as pid:
        (file,) = search(pid).files.values()
    assert file.size == 7


@pytest.mark.parametrize(
    "keeping",
    ["os.chdir(folder)", "a = open(folder + '/secret')", "a = os.open(folder, os.O_PATH)"],
)
def test_a_file_system_that_was_unmounted_while_in_use(tmp_path: Path, keeping: str) -> None:
    script = f"{PRIVATE}private(); tmpfs(); {keeping}; assert not libc.umount2(folder.encode(), 2)"
    with holding(tmp_path, script) as pid:
        (found,) = kept(pid).kept.values()
    assert (found.how, found.pid) == ("mount", pid)


def test_a_program_that_runs_from_a_file_system_that_was_unmounted(tmp_path: Path) -> None:
    script = f"""{PRIVATE}
import subprocess, shutil
private(); tmpfs(); shutil.copy("/bin/sleep", folder + "/sleep")
child = subprocess.Popen([folder + "/sleep", "1000"], close_fds=True)
os.readlink(f"/proc/{{child.pid}}/exe"); assert not libc.umount2(folder.encode(), 2)
print(child.pid, flush=True)
"""
    with holding(tmp_path, script) as pid:
        try:
            (found,) = kept(pid).kept.values()
            assert (found.how, found.where) == ("mount", "exe")
        finally:
            os.kill(pid, 9)


def test_a_directory_for_a_root_hides_no_file_system_where_another_process_sees_all(
    tmp_path: Path,
) -> None:
    """Only where every process of the namespace has one, a gap says that more may be mounted."""
    script = f"""{PRIVATE}
private(); tmpfs(); file = os.open(folder + "/secret", os.O_RDONLY)
ready, said = os.pipe()
child = os.fork()
if not child:
    os.chroot("/usr"); os.write(said, b"x"); time.sleep(1000)
os.read(ready, 1); os.close(file)
assert not libc.umount2(folder.encode(), 2)
print(child, flush=True)
"""
    with holding(tmp_path, script) as child:
        try:
            with Process.open(child) as process:
                parent = process.parent
            (found,) = kept(parent, child).kept.values()
            assert (found.how, found.pid) == ("mount", child)
            assert not kept(child).kept and survey([child], "").chrooted == [b"/usr"]
        finally:
            os.kill(child, 9)


LIBRARY = """
file = os.open(folder + "/secret", os.O_RDONLY); os.truncate(folder + "/secret", 5000)
assert libc.mmap(None, ctypes.c_size_t(5000), 1, 2, file, ctypes.c_long(0)) != -1
os.close(file)
"""


@pytest.mark.parametrize(
    "made",
    [
        "tmpfs()",
        "tmpfs(); a = folder.encode(); assert not libc.mount(a, a, None, 4096, None)",
        "os.mkdir(folder + '/in'); folder += '/in'; tmpfs()",
    ],
)
def test_a_library_that_is_only_mapped_from_a_file_system_that_was_unmounted(
    tmp_path: Path, made: str
) -> None:
    away = "assert not libc.umount2(folder.encode(), 2)\n"
    script = f"{PRIVATE}private(); {made}\n{LIBRARY}{away}"
    script += away if "4096" in made else ""
    with holding(tmp_path, script) as pid:
        (found,) = kept(pid).kept.values()
    assert (found.how, found.pid) == ("mount", pid) and found.where.startswith("map_files/")


def test_mappings_of_memory_and_of_files_in_sight_are_nothing_special(tmp_path: Path) -> None:
    script = """
a = mmap.mmap(-1, 5000);
b = os.memfd_create("x"); os.ftruncate(b, 5000); b = mmap.mmap(b, 5000)
with open(folder + "/file", "w+b") as file:
    file.write(b"x" * 5000); file.flush(); c = mmap.mmap(file.fileno(), 0)
"""
    with holding(tmp_path, script) as pid:
        found = kept(pid)
    assert not found.kept and not found.unseen


def test_a_list_of_mappings_that_is_too_long_is_noted(tmp_path: Path) -> None:
    with holding(tmp_path, "a = 1") as pid:
        assert pid in kept(pid, max_table=300).unseen


CHILD = """
child = os.fork()
if not child:
    private(); tmpfs(); os.write(outlet, b"x"); time.sleep(1000)
os.read(inlet, 1)
"""
BIND = """tmpfs()
file = (folder + "/secret").encode()
assert not libc.mount(f"/proc/{child}/ns/mnt".encode(), file, None, 4096, None)"""
ONE_PROCESSOR = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
LEFT = "os.kill(child, 9); os.waitpid(child, 0)"


@pytest.mark.parametrize(
    "keeping",
    ["a = open(f'/proc/{child}/ns/mnt')", BIND],
)
def test_a_namespace_without_any_process(tmp_path: Path, keeping: str) -> None:
    """One is only entered by who has it: what is mounted in it is in nobody's table."""
    # Only an older namespace takes the bind, by a number that grows on each processor by itself.
    script = f"{ONE_PROCESSOR}{PRIVATE}private(); inlet, outlet = os.pipe(){CHILD}{keeping}\n{LEFT}"
    with holding(tmp_path, script) as pid:
        (found,) = kept(pid).kept.values()
    assert found.how == "namespace" and found.name.startswith(b"mnt:[")


def test_a_namespace_that_a_process_is_in(tmp_path: Path) -> None:
    with holding(tmp_path, "a = open('/proc/self/ns/net')") as pid:
        assert not kept(pid).kept


IN_FLIGHT = """
import socket
a, b = socket.socketpair()
file = gone("open", b"1234567")
socket.send_fds(a, [b"x"], [file.fileno()]); file.close()
"""
REGISTERED = """
libc = ctypes.CDLL(None)
ring = libc.syscall(425, 8, ctypes.create_string_buffer(120))
if ring < 0:
    print(0, flush=True); sys.exit()
file = gone("open", b"1234567")
assert not libc.syscall(427, ring, 2, ctypes.byref(ctypes.c_int(file.fileno())), 1); file.close()
"""


@pytest.mark.parametrize("script", [IN_FLIGHT, REGISTERED])
def test_a_file_that_no_process_has_open(tmp_path: Path, script: str) -> None:
    with holding(tmp_path, script) as pid:
        if not pid:
            pytest.skip("this kernel grants no io_uring")
        found = [each for each in kept(pid).kept.values() if each.how == "files"]
    assert [each.count for each in found] == [1]


async def test_bytes_that_nobody_has_read_yet(tmp_path: Path) -> None:
    script = """
import socket
a = os.pipe(); os.write(a[1], b"secret")
b = os.pipe(); os.write(b[1], b"read"); os.read(b[0], 4)
c = socket.socketpair(); d = os.openpty()
"""
    gaps = await gaps_of(tmp_path, script)
    pipe, others = sorted(gaps, key=lambda gap: gap.what)
    assert (pipe.what, pipe.reason, pipe.size) == (f"unread in {pipe.path}", "NotVisible", 6)
    assert pipe.path and pipe.path.startswith("pipe:[") and f"/proc/{pipe.pid}/fd/" in pipe.message
    assert (others.what, others.reason) == ("unread in sockets and terminals", "NotVisible")
    assert "2 in all" in others.message


def test_no_byte_is_taken_out_of_a_pipe(tmp_path: Path) -> None:
    script = "a = os.pipe(); os.write(a[1], b'12')"
    with holding(tmp_path, script) as pid:
        for _ in range(2):
            (found,) = kept(pid).kept.values()
            assert (found.how, found.count) == ("bytes", 2)


def test_what_a_process_says_to_who_started_it_is_theirs_to_read() -> None:
    command = ["sh", "-c", "echo said; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        select.select([process.stdout], [], [])
        assert not kept(process.pid).kept
        whole = kept(process.pid, os.getpid()).kept.values()
        assert ("bytes", len("said\n")) in {(each.how, each.count) for each in whole}
        process.kill()


def test_what_everybody_has_is_nothing_special(tmp_path: Path) -> None:
    script = (
        "import socket; a = os.memfd_create('x'); b = socket.socketpair(); c = mmap.mmap(-1, 9)"
    )
    with holding(tmp_path, script) as pid:
        found = kept(pid, 2**22 + 1)
    assert not found.kept and not found.unseen and not found.more


QUEUES = """
libc = ctypes.CDLL(None)
assert not libc.unshare(0x08000000)
queue = libc.msgget(0xCAFE, 0o1600)
libc.msgsnd(queue, ctypes.create_string_buffer(b"\\1\\0\\0\\0\\0\\0\\0\\0secret", 16), 6, 0)
queue = libc.mq_open(b"/hidden", 0o102, 0o600, None)
libc.mq_send(queue, b"secret!", 7, 0)
os.close(queue)
"""


async def test_message_queues_that_are_mounted_nowhere(tmp_path: Path) -> None:
    gaps = await gaps_of(tmp_path, QUEUES)
    assert [(each.reason, each.size, each.path) for each in gaps] == [
        ("NotSupported", 6, None),
        ("NotSupported", 7, "/hidden"),
    ]


async def test_each_thing_kept_is_a_gap(tmp_path: Path) -> None:
    script = (
        f"{PRIVATE}inlet, outlet = os.pipe(){CHILD}n = open(f'/proc/{{child}}/ns/mnt'); {LEFT}\n"
        f"{IN_FLIGHT}\nprivate(); tmpfs(); os.chdir(folder); libc.umount2(folder.encode(), 2)"
    )
    gaps = await gaps_of(tmp_path, script)
    assert {each.what.partition(" ")[0] for each in gaps} == {
        *("file", "files", "namespace", "unread")
    }
    assert {each.reason for each in gaps} == {"NotVisible"} and all(each.pid for each in gaps)
    assert not any(each.requested for each in gaps)


async def told(
    pid: int, tmp_path: Path, limits: artifact.KeptLimits = artifact.LIMITS
) -> list[NotCaptured]:
    capture = capture_for(Bundle(tmp_path / "bundle"))
    await artifact.account(capture, [pid], limits=limits)
    return list(capture.bundle.not_captured)


async def test_what_is_too_much_is_told(tmp_path: Path) -> None:
    limits = artifact.KeptLimits(kept=1, segments=1, threads=0)
    script = IN_FLIGHT + IN_FLIGHT.replace("a, b", "c, d").replace("(a,", "(c,") + QUEUES
    with holding(tmp_path, script) as pid:
        gaps = {each.what: each.message for each in await told(pid, tmp_path, limits)}
    assert "3 further things" in gaps["kept by processes, the rest"]
    assert "1 processes" in gaps["kept by some processes"]
    assert "more than 1" in gaps["message queues, the rest"]


def test_very_many_files_are_not_all_looked_at() -> None:
    found = UnlistedSearch(time.monotonic() + 60, links=0)
    found.look([os.getpid()])
    assert found.unseen == [os.getpid()]


def test_processes_that_cannot_be_looked_at_are_told(tmp_path: Path) -> None:
    with holding(tmp_path, "") as pid:
        (gap,) = without(SYS_PTRACE, action=lambda: anyio.run(told, pid, tmp_path))
    assert gap.what == "kept by some processes"


async def test_a_search_that_hangs_is_told(tmp_path: Path) -> None:
    (gap,) = await told(os.getpid(), tmp_path, artifact.KeptLimits(search_seconds=0))
    assert (gap.what, gap.reason) == ("kept by processes", "Hung")


NESTED = """
libc = ctypes.CDLL(None)
libc.unshare(0x20000000)
inlet, outlet = os.pipe()
first = os.fork()
if first:
    os.read(inlet, 1)
    print(first, flush=True); time.sleep(1000)
libc.unshare(0x20000000)
inner = os.fork()
if not inner:
    os.write(outlet, b"x")
time.sleep(1000)
"""


def by_namespace(first: int) -> list[int]:
    """Return the companions of a process, as though all had left its cgroups."""
    boundary, found = Boundary(first), list[int]()
    boundary.groups.clear()
    for pid in pids():
        with suppress(OSError), Process.open(pid) as process:
            if boundary.holds(process):
                found.append(pid)
    return found


def test_a_process_in_a_nested_pid_namespace_is_the_containers(tmp_path: Path) -> None:
    """Whatever cgroup it went to: that it can leave, its namespace not."""
    with holding(tmp_path, NESTED) as first:
        found = by_namespace(first)
        depths = []
        for pid in found:
            with Process.open(pid) as process:
                depths.append(len(describe(process)["nspid"]))
        for pid in reversed(found):
            os.kill(pid, 9)
    assert first in found and depths == [2, 3]


def test_processes_of_another_containers_namespaces_are_left_out(tmp_path: Path) -> None:
    with holding(tmp_path, NESTED) as first, holding(tmp_path, NESTED) as other:
        found = by_namespace(first)
        others = by_namespace(other)
        assert first in found and other in others and not {*found} & {*others}
        assert os.getpid() not in found
        for pid in reversed(found + others):
            os.kill(pid, 9)


def waiting(*pids: int) -> list[tuple[int, bytes]]:
    return [(each.count, each.data) for each in kept(*pids).kept.values() if each.how == "bytes"]


@pytest.mark.parametrize("first", ["inlet", "outlet"])
def test_what_nobody_has_read_from_a_pipe_with_a_name(tmp_path: Path, first: str) -> None:
    """Whichever end comes first, and though it has no name any more."""
    script = """
os.mkfifo(folder + "/fifo")
inlet = os.open(folder + "/fifo", os.O_RDONLY | os.O_NONBLOCK)
outlet = os.open(folder + "/fifo", os.O_WRONLY); os.unlink(folder + "/fifo")
os.write(outlet, b"secret"); os.dup2(%s, 200)
os.close(inlet if %s == outlet else outlet)
"""
    with holding(tmp_path, script % (first, first)) as pid:
        assert waiting(pid) == [(6, b"secret" if first == "inlet" else b"")]
    both = script.replace("os.close(inlet", "0 and (inlet") % (first, first)
    with holding(tmp_path, both) as pid:
        assert waiting(pid) == [(6, b"secret")]


def test_a_pipe_of_its_own_in_the_place_of_its_output_is_looked_into(tmp_path: Path) -> None:
    script = """
a, b = os.pipe(); os.write(b, b"secret"); os.dup2(a, 0); os.close(a); os.close(b)
"""
    with holding(tmp_path, script) as pid:
        assert waiting(pid) == [(6, b"secret")]


def test_a_thread_that_alone_stands_in_a_file_system_that_was_unmounted(tmp_path: Path) -> None:
    script = f"""{THREAD}{PRIVATE}
private(); tmpfs(); os.chdir("/")
def work():
    assert not libc.unshare(0x200)
    os.chdir(folder); libc.umount2(folder.encode(), 2)
start(work)
"""
    with holding(tmp_path, script) as pid:
        apart = SeparateThreads()
        apart.look([pid])
        found = kept(pid, *apart.threads)
    assert [each.how for each in found.kept.values()] == ["mount"]
