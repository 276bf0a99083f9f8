"""One hostile process costs a bounded amount of memory, and keeps its row."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from collector.artifacts.processes import read_row
from collector.documents import strings
from collector.node.process_row import MAX_STRINGS, RowBudget, RowLimits, describe, summarise_maps
from collector.node.procfs import Process

MIB = 1024 * 1024
SIZE = 9 * MIB

_ARM = """
import ctypes, mmap, struct, sys
size, pattern = 9 << 20, b"ab\\0"
memory = mmap.mmap(-1, 2 * size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.write(pattern * (2 * size // len(pattern)))
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
stat = open("/proc/self/stat").read().rpartition(")")[2].split()
field = lambda number: int(stat[number - 3])
libc = ctypes.CDLL(None, use_errno=True)
libc.sbrk.restype = ctypes.c_void_p
layout = struct.pack(
    "=11QQII",
    field(26), field(27), field(45), field(46), field(47), libc.sbrk(0), field(28),
    start, start + size, start + size, start + 2 * size, 0, 0, 2**32 - 1,
)
if libc.prctl(35, 14, layout, ctypes.c_ulong(len(layout)), 0):
    sys.exit(f"prctl: {ctypes.get_errno()}")
"""
"""PR_SET_MM_MAP: any user may tell the kernel where arguments and environment are."""

_ELSEWHERE = _ARM.replace(
    "memory = mmap.mmap(-1, 2 * size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)",
    "import tempfile; file = tempfile.TemporaryFile(); file.truncate(2 * size)\n"
    "memory = mmap.mmap(file.fileno(), 2 * size)",
)
"""The kernel shows no strings that lie in a file's memory."""

_THREADS = """
import threading
threading.stack_size(65536)
stay = threading.Event()
for _ in range(500):
    threading.Thread(target=stay.wait, daemon=True).start()
"""
_NAME = """
import ctypes
ctypes.CDLL(None).prctl(15, b"a) R 1\\n\\x1b(", 0, 0, 0)
"""
_FILES = "import os; files = [os.open('/dev/null', os.O_RDONLY) for _ in range(900)]"
_MEASURE = """
import json, resource, sys
from collector.artifacts.processes import read_row
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
text = json.dumps(read_row(int(sys.argv[1])), ensure_ascii=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(text))
"""


@contextmanager
def running(program: str) -> Iterator[int]:
    """Run a program of Python and then let it wait; yields its number."""
    wait = "import sys; print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", f"{program}\n{wait}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        if process.stdout.readline() != b"ready\n":
            pytest.skip("this kernel does not let processes move their arguments")
        yield process.pid
        process.communicate()


def test_arguments_where_the_kernel_shows_nothing_are_told_with_their_size() -> None:
    with running(_ELSEWHERE) as pid:
        row = read_row(pid)
    assert row and row["cmdline"] == row["environ"] == []
    assert row["unshown"] == {"cmdline": SIZE, "environ": SIZE}


def test_a_process_without_environment_hides_none() -> None:
    with subprocess.Popen(["/bin/sleep", "60"], env={}) as process:
        row = read_row(process.pid)
        process.kill()
    assert row and row["environ"] == [] and row["cmdline"] and "unshown" not in row


def test_megabytes_of_tiny_arguments_are_kept_raw_cut_and_counted() -> None:
    with running(_ARM) as pid:
        row = read_row(pid)
    assert row and row["truncated"] == ["cmdline", "environ"]
    for name in ("cmdline", "environ"):
        content = base64.b64decode(row[name].pop("base64"))
        assert content[:5] in (b"ab\0ab", b"b\0ab\0", b"\0ab\0a")
        assert len(content) == MAX_STRINGS
        assert row[name].pop("strings") in range(MAX_STRINGS // 3, MAX_STRINGS // 3 + 2)
        assert row[name] == {"truncated": True, "size": SIZE}
    assert row["comm"] and row["status"] and row["maps"]


def test_megabytes_of_tiny_arguments_cost_little_memory() -> None:
    """It was 608 MiB; a Job has 512."""
    with running(_ARM) as pid:
        command = [sys.executable, "-c", _MEASURE, str(pid)]
        measured = subprocess.run(command, check=True, capture_output=True)
    kilobytes, letters = map(int, measured.stdout.split())
    assert letters > 2 * MAX_STRINGS
    assert kilobytes < 48 * 1024


def test_many_threads_are_counted_but_not_all_listed() -> None:
    with running(_THREADS) as pid:
        row = read_row(pid, RowBudget(RowLimits(threads=100)))
    assert row and len(row["threads"]) == 100 and row["threadsTotal"] == 501
    assert row["truncated"] == ["task"]


def test_many_open_files_are_told_as_cut() -> None:
    with running(_FILES) as pid:
        row = read_row(pid, RowBudget(RowLimits(descriptors=100)))
    assert row and len(row["fds"]) == 100 and row["fdsTotal"] > 900
    assert row["truncated"] == ["fd"]


def test_a_name_with_brackets_and_line_breaks() -> None:
    with running(_NAME) as pid:
        row = read_row(pid)
    assert row and row["comm"] == "a) R 1\n\x1b(" and row["ppid"] > 1
    assert row["state"] in "RS" and row["status"]["Name"] == "a) R 1\\n\x1b("


def test_a_huge_map_is_summed_up_to_a_bounded_number_of_rows() -> None:
    lines = (f"{n:x}000-{n + 1:x}000 r--p 0 fe:00 {n} /lib/{n}\n" for n in range(1, 1001))
    assert len(summarise_maps("".join(lines).encode())) == 1000
    with running("") as pid, Process.open(pid) as process:
        row = describe(process, RowBudget(RowLimits(areas=2)))
        assert len(row["maps"]) == 2 and process.cut == ["maps"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", []),
        (b"a\0\0b\0", ["a", "", "b"]),
        (b"a\0b", ["a", "b"]),
        (b"\0", [""]),
    ],
)
def test_ordinary_lists_of_strings_are_lists(content: bytes, said: list[str]) -> None:
    assert strings(content) == said


def test_a_list_of_very_many_strings_is_raw_though_whole() -> None:
    assert strings(b"a\0b\0c", most=2) == {
        "base64": "YQBiAGM=",
        "strings": 3,
        "truncated": False,
        "size": 5,
    }
    assert json.dumps(strings(b"a\0", 0)) and strings(b"a\0", 0)["size"] is None  # type: ignore[call-overload]
