"""The timeline: what each source says, in which order, and in the layouts of other tools."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from click.testing import CliRunner, Result

from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.cli.main import forensics
from forensics_core.readers.notes import Notes
from forensics_core.readers.timeline.entry import (
    EntrySource,
    TimelineEntry,
    from_decimal,
    from_stamp,
    to_stamp,
)
from forensics_core.readers.timeline.formats import bodyfile_row, csv_cells, csv_line
from forensics_core.readers.timeline.logs import MAX_WAITING
from forensics_core.readers.timeline.ordering import in_order
from forensics_core.readers.timeline.timeline import Filter, timeline
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from forensics_core.tarindex.archive import open_archive
from tests.bundles import capture, edit_manifest, listing, replace_object
from tests.integration.collector.folder_container import capture_tree
from tests.unit.readers.evidence import socket

WEB = "containers/web/"
PROCESSES = {
    "processes": [
        {
            "pid": 7,
            "ppid": 1,
            "startTime": "2026-08-01T10:00:00+00:00",
            "cmdline": ["nc", {"text": "-e\\xff", "base64": "LWX/"}],
        },
        {"pid": 8, "ppid": 1, "startTime": "2026-08-01T10:00:01+00:00", "comm": "kworker"},
        {"pid": 9, "unreadable": "Hung"},
        {
            "pid": 10,
            "ppid": 1,
            "startTime": "2026-08-01T10:00:02+00:00",
            "cmdline": ["sh"],
            "entered": True,
            "terminal": "pts/0",
        },
        {
            "pid": 11,
            "ppid": 1,
            "startTime": "2026-08-01T10:00:02+00:00",
            "cmdline": ["id"],
            "entered": True,
            "terminal": None,
        },
    ]
}
DOCKER = {
    "Created": "2026-08-01T09:00:00.5Z",
    "State": {
        "StartedAt": "2026-08-01T09:00:01Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
        "ExitCode": 0,
    },
}
CRI = {
    "status": {
        "createdAt": "1785574800000000000",
        "startedAt": "1785574801000000000",
        "finishedAt": "1785574802000000000",
        "exitCode": 137,
    }
}
EVENTS = {
    "items": [
        {
            "reason": "BackOff",
            "message": "Back-off restarting",
            "firstTimestamp": "2026-08-01T09:30:00Z",
            "lastTimestamp": "2026-08-01T09:40:00Z",
            "count": 12,
        },
        {"reason": "Pulled", "message": "x", "eventTime": "2026-08-01T08:30:00.000001Z"},
        {"reason": "Odd", "message": 5, "firstTimestamp": None},
    ]
}
LOG = (
    b'{"log":"GET /shell\\n","stream":"stdout","time":"2026-08-01T10:00:02.25Z"}\n'
    b"2026-08-01T10:00:03Z stderr F fell over\n"
    b"  at line 7\n"
    b"{not json\n"
)


async def write(folder: Path, files: dict[str, tuple[ArtifactKind, bytes]]) -> Path:
    async with open_destination(str(folder)) as destination:
        bundle = BundleWriter(destination)
        for name, (kind, data) in files.items():
            container = "web" if name.startswith(WEB) else None
            await bundle.add(ArtifactSpec(name, kind, container), one(data))
        await bundle.finish(capture())
    return folder


@pytest.fixture
async def documents(tmp_path: Path) -> Path:
    return await write(
        tmp_path / "documents",
        {
            WEB + "processes.json": (ArtifactKind.PROCESSES, listing(PROCESSES, "processes")),
            WEB + "inspect.json": (ArtifactKind.INSPECT, json.dumps(DOCKER).encode()),
            WEB + "logs/0.log": (ArtifactKind.LOGS, LOG),
            WEB + "logs/0.log.1.gz": (
                ArtifactKind.LOGS,
                gzip.compress(b"2026-08-01T07:00:00Z old\n") * 2,
            ),
            "context/events.json": (ArtifactKind.CONTEXT, json.dumps(EVENTS).encode()),
        },
    )


@pytest.fixture
async def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    for name, seconds in (("old", 86_400), ("before", -5), ("=cmd|x\n", 2**33), ("a\udcff", 9)):
        (folder / name).write_text(name, errors="surrogateescape")
        os.utime(folder / name, (seconds, seconds))
    (folder / "link").symlink_to("a|b")
    await capture_tree(folder, str(tmp_path / "bundle"))
    return tmp_path / "bundle"


async def entries(folder: Path, wanted: Filter | None = None) -> list[TimelineEntry]:
    async with open_bundle(str(folder)) as bundle:
        return [entry async for batch in timeline(bundle, wanted) for entry in batch]


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(forensics, ["timeline", *(str(one) for one in arguments)])


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("0", 0),
        ("1.5", 1_500_000_000),
        ("-1.000000001", -1_000_000_001),
        ("7.0000000019", 7_000_000_001),
        ("", None),
        ("1e9", None),
        ("Infinity", None),
    ],
)
def test_decimal_seconds_become_nanoseconds(text: str, time: int | None) -> None:
    assert from_decimal(text) == time


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("2026-08-01T10:00:00Z", "2026-08-01T10:00:00.000000000Z"),
        ("2026-08-01 10:00:00.123456789 rest", "2026-08-01T10:00:00.123456789Z"),
        ("2026-08-01T10:00:00+0200", "2026-08-01T08:00:00.000000000Z"),
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000000Z"),
        ("0999-01-01T00:00:00Z", "0999-01-01T00:00:00.000000000Z"),
    ],
)
def test_stamps_come_back_as_they_were(text: str, stamp: str) -> None:
    time = from_stamp(text)
    assert time is not None and to_stamp(time) == stamp


def test_what_is_no_time_has_none_and_no_calendar_is_needed() -> None:
    assert from_stamp("GET / HTTP/1.1") is None
    assert from_stamp("2026-13-01T10:00:00Z") is None
    assert to_stamp(10**30) == f"@{10**21}.000000000"


async def test_each_source_has_its_entries_in_order(documents: Path) -> None:
    found = [
        (to_stamp(one.time)[11:23], one.source, one.message) for one in await entries(documents)
    ]
    told = [row for row in found if row[1] is not EntrySource.CAPTURE]
    assert told == [
        ("07:00:00.000", "log", "2026-08-01T07:00:00Z old"),
        ("07:00:00.000", "log", "2026-08-01T07:00:00Z old"),
        ("08:30:00.000", "event", "Pulled: x"),
        ("09:00:00.500", "container", "The container web was created"),
        ("09:00:01.000", "container", "The container web started"),
        ("09:30:00.000", "event", "BackOff: Back-off restarting (12 times)"),
        ("09:40:00.000", "event", "BackOff: Back-off restarting (12 times)"),
        ("10:00:00.000", "process", "process 7 (parent 1): nc -e\\xff"),
        ("10:00:01.000", "process", "process 8 (parent 1): [kworker]"),
        ("10:00:02.000", "process", "process 10 (parent 1, from outside on pts/0): sh"),
        ("10:00:02.000", "process", "process 11 (parent 1, from outside): id"),
        ("10:00:02.250", "log", LOG.split(b"\n")[0].decode()),
        ("10:00:03.000", "log", "2026-08-01T10:00:03Z stderr F fell over"),
        ("10:00:03.000", "log", "  at line 7"),
        ("10:00:03.000", "log", "{not json"),
    ]
    assert {row[2] for row in found} >= {
        "The capture began",
        "The capture of containers/web/inspect.json ended",
    }


RECORDED: list[dict[str, Any]] = [
    {"event": "began", "pids": [7]},
    {"event": "fork", "pid": 8, "parent": 7},
    {"event": "exec", "pid": 8, "parent": 7, "cmdline": ["nc", {"text": "-e\\xff"}]},
    {"event": "write", "pid": 8, "path": "/tmp/x", "count": 3},
    {"event": "closeWrite", "pid": None, "path": {"text": "/a\\xff"}, "outside": True},
    {
        "event": "socketOpened",
        "protocol": "tcp",
        "local": {"address": "10.0.0.1", "port": 40000},
        "remote": {"address": "10.0.0.2", "port": 443},
        "state": "ESTABLISHED",
    },
    {"event": "socketClosed", "protocol": 1, "local": None, "remote": [], "state": "CLOSE"},
    {"event": "exit", "pid": 8, "signal": 9},
    {"event": ["no", "word"]},
]


async def test_what_was_recorded_is_in_the_timeline(tmp_path: Path) -> None:
    lines = [
        json.dumps({"time": f"2026-08-01T11:00:0{n}Z", **row}) for n, row in enumerate(RECORDED)
    ]
    lines += ["{no json", "[7]", '{"event": "fork", "pid": 1}']
    data = "\n".join(lines).encode()
    name = WEB + "recording.jsonl.zst"
    async with open_destination(str(tmp_path / "case")) as destination:
        bundle = BundleWriter(destination)
        spec = ArtifactSpec(name, ArtifactKind.PROCESSES, "web", compression=Compression.ZSTD)
        await bundle.add(spec, one(data))
        await bundle.finish(capture())
    found = [one for one in await entries(tmp_path / "case") if one.source is EntrySource.RECORDING]
    assert [(row.message, row.path) for row in found] == [
        ("fork of process 8 (parent 7)", ""),
        ("exec of process 8 (parent 7): nc -e\\xff", ""),
        ("/tmp/x written by process 8 (3 times)", "/tmp/x"),
        ("/a\\xff closed after writing from outside the container", "/a\\xff"),
        ("socketOpened: tcp 10.0.0.1:40000 to 10.0.0.2:443, ESTABLISHED", ""),
        ("socketClosed:  ? to ?, CLOSE", ""),
        ("exit of process 8, with signal 9", ""),
    ]


async def test_times_of_a_cri_runtime_are_nanoseconds(tmp_path: Path) -> None:
    data = json.dumps(CRI).encode()
    folder = await write(tmp_path / "cri", {WEB + "inspect.json": (ArtifactKind.INSPECT, data)})
    found = [one for one in await entries(folder) if one.source is EntrySource.CONTAINER]
    assert [to_stamp(one.time)[11:19] for one in found] == ["09:00:00", "09:00:01", "09:00:02"]
    assert found[-1].message == "The container web ended with exit code 137"


async def test_files_have_one_entry_for_each_of_their_moments(tree: Path) -> None:
    async with open_bundle(str(tree)) as bundle:
        found = [e async for batch in timeline(bundle) for e in batch if e.path == "/old"]
    assert [one.marks[0] for one in found] == ["m", ".", "."]
    assert to_stamp(found[0].time) == "1970-01-02T00:00:00.000000000Z"
    assert found[0].what.startswith("Content Modification Time")
    assert any("Metadata Modification Time" in one.what for one in found)


async def test_the_order_is_kept_however_many_parts_there_are() -> None:
    times = [(n * 7919) % 1000 for n in range(1000)]

    async def some() -> AsyncIterator[list[TimelineEntry]]:
        for time in times:
            yield [
                TimelineEntry(
                    time, EntrySource.LOG, "web", f"line \udcff {time}", "t", "p", "m...", "0" * 64
                )
            ]

    found = [entry async for batch in in_order(some(), part=64) for entry in batch]
    assert [entry.time for entry in found] == sorted(times)
    assert found[3] == TimelineEntry(
        3, EntrySource.LOG, "web", "line \udcff 3", "t", "p", "m...", "0" * 64
    )


async def logged(folder: Path, *lines: bytes) -> list[tuple[str, str, str]]:
    data = b"\n".join(lines) + b"\n"
    await write(folder, {WEB + "logs/0.log": (ArtifactKind.LOGS, data)})
    found = [each for each in await entries(folder) if each.source is EntrySource.LOG]
    return [(to_stamp(each.time)[:19], each.what, each.message) for each in found]


async def test_a_line_has_its_own_time_however_early_it_is(tmp_path: Path) -> None:
    docker = b'{"log":"x","time":"1970-01-01T00:00:00Z"}'
    found = await logged(
        tmp_path / "x", b"2026-08-01T10:00:00Z a", docker, b"1969-12-31T00:00:00Z b"
    )
    assert [(time, what) for time, what, _ in found] == [
        ("1969-12-31T00:00:00", "Logged Time"),
        ("1970-01-01T00:00:00", "Logged Time"),
        ("2026-08-01T10:00:00", "Logged Time"),
    ]


async def test_lines_without_a_time_have_the_nearest_and_say_so(tmp_path: Path) -> None:
    lines = (b"of what came before", b"2026-08-01T10:00:00Z a", b"  at line 7")
    nearest = "Logged Time of the Nearest Line"
    assert await logged(tmp_path / "x", *lines) == [
        ("2026-08-01T10:00:00", nearest, "of what came before"),
        ("2026-08-01T10:00:00", "Logged Time", "2026-08-01T10:00:00Z a"),
        ("2026-08-01T10:00:00", nearest, "  at line 7"),
    ]


async def test_lines_that_no_time_is_near_have_that_of_the_capture(tmp_path: Path) -> None:
    never = await logged(tmp_path / "never", b"one", b"two")
    assert [(what, line) for _, what, line in never] == [
        ("Captured, no Time is Known", "one"),
        ("Captured, no Time is Known", "two"),
    ]
    late = await logged(tmp_path / "late", *[b"x"] * MAX_WAITING, b"2026-08-01T10:00:00Z a", b"y")
    assert Counter(what for _, what, _ in late) == {
        "Captured, no Time is Known": MAX_WAITING,
        "Logged Time": 1,
        "Logged Time of the Nearest Line": 1,
    }


async def test_lines_of_a_log_that_is_not_genuine_are_shown_all_the_same(tmp_path: Path) -> None:
    await logged(tmp_path / "x", b"one", b"two")
    (tmp_path / "x" / WEB / "logs/0.log").write_bytes(b"one\nTWO\n")
    notes = Notes()
    async with open_bundle(str(tmp_path / "x")) as bundle:
        found = [each async for batch in timeline(bundle, None, notes) for each in batch]
    assert notes.not_genuine and {"one", "TWO"} <= {each.message for each in found}


async def test_sessions_and_connections_are_there(tmp_path: Path) -> None:
    execs = {
        "method": "engine-api",
        "execs": [
            {"id": "a", "pid": 7, "running": True, "terminal": True, "command": ["sh", "-i"],
             "user": "root", "process": {"startTime": "2026-08-01T10:00:00Z"}},
            {"id": "b", "pid": 8, "running": False, "command": ["id"], "process": None},
            {"id": None, "pid": 9, "running": True, "command": None,
             "process": {"startTime": "2026-08-01T10:00:05Z", "cmdline": ["nsenter"]}},
            "odd",
        ],
    }  # fmt: skip
    network = {
        "namespaces": [
            {"sockets": [
                socket("ESTABLISHED", ("10.0.0.5", 40000), ("8.8.8.8", 443), 7),
                socket("LISTEN", ("0.0.0.0", 80), ("0.0.0.0", 0), 8) | {"pids": "odd"},  # noqa: S104
            ]},
            {"host": True, "sockets": [socket("LISTEN", ("::", 22), ("::", 0), 1)]},
            {"sockets": "odd"},
        ]
    }  # fmt: skip
    folder = await write(
        tmp_path / "x",
        {
            WEB + "execs.json": (ArtifactKind.PROCESSES, json.dumps(execs).encode()),
            WEB + "network.json": (ArtifactKind.NETWORK, listing(network, "namespaces")),
        },
    )
    seen = [
        each
        for each in await entries(folder)
        if each.source in {EntrySource.EXEC, EntrySource.CONNECTION}
    ]
    assert {(each.what, each.message) for each in seen} == {
        ("Session Start Time", "session of process 7 as root on a terminal, running: sh -i"),
        ("Time Seen", "session of process 8, ended: id"),
        (
            "Session Start Time",
            "session of process 9, running, which the runtime knows nothing of: nsenter",
        ),
        ("Time Seen", "tcp 10.0.0.5:40000 to 8.8.8.8:443, ESTABLISHED, held by process 7"),
        ("Time Seen", "tcp 0.0.0.0:80, LISTEN"),
    }


async def test_sessions_that_are_no_list_are_none(tmp_path: Path) -> None:
    for number, data in enumerate((b"[]", b'{"execs": 7}')):
        folder = tmp_path / str(number)
        await write(folder, {WEB + "execs.json": (ArtifactKind.PROCESSES, data)})
        assert {each.source for each in await entries(folder)} == {EntrySource.CAPTURE}


def set_ahead(folder: Path, seconds: int) -> None:
    """Let the node's clock be ahead of the store's."""
    clock = {
        "node": f"2026-08-01T10:0{seconds // 60}:{seconds % 60:02}Z",
        "destination": "2026-08-01T10:00:00Z",
        "monotonicOffset": 0,
    }
    edit_manifest(folder, lambda document: document["predicate"].update(clocks=[clock]))


def test_clocks_that_disagree_are_told_of_and_made_to_agree(documents: Path) -> None:
    set_ahead(documents, 90)
    result = invoke(documents, "--since", "2026-08-01T09:57:00", "--until", "2026-08-01T09:59:00")
    first = next(line for line in result.stdout.splitlines() if " process " in line)
    assert first.startswith("2026-08-01T09:58:30")
    assert "The node's clock was 90 s ahead of the store's: times that the node" in result.stderr
    assert "shown 90 s earlier; '--clock node' shows them as it had them" in result.stderr
    events = [line[:19] for line in invoke(documents).stdout.splitlines() if " event " in line]
    assert events[1] == "2026-08-01T09:30:00", "the cluster's clock is another one"
    as_recorded = invoke(documents, "--clock", "node")
    assert "2026-08-01T10:00:00.000000000Z  process" in as_recorded.stdout
    assert "times that the node gave are shown as it had them" in as_recorded.stderr
    rows = [
        json.loads(line) for line in invoke(documents, "--format", "timesketch").stdout.splitlines()
    ]
    assert {row["node_clock_ahead_seconds"] for row in rows} == {90}


def test_times_that_a_file_of_the_image_brings_are_left_alone(tree: Path) -> None:
    set_ahead(tree, 90)
    plain, moved = (invoke(tree, "--clock", clock).stdout for clock in ("node", "store"))
    assert "1970-01-02T00:00:00.000000000Z  m" in plain
    assert "1970-01-01T23:58:30.000000000Z  m" in moved, "nobody knows what the image has"
    lines = invoke(tree, "--format", "bodyfile").stdout.splitlines()
    (row,) = (line.split("|") for line in lines if line.split("|")[1] == "[web] /old")
    assert row[8] == str(86_400 - 90)


async def test_when_a_file_was_made_is_in_the_timeline(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/x").touch()
    os.utime(tmp_path / "tree/x", (0, 0))
    await capture_tree(tmp_path / "tree", str(tmp_path / "bundle"))
    found = [each for each in await entries(tmp_path / "bundle") if each.path == "/x"]
    (made,) = (each for each in found if "b" in each.marks)
    assert "Creation Time" in made.what and to_stamp(made.time) > "2020"


async def test_only_what_is_wanted(documents: Path) -> None:
    wanted = Filter(
        since=from_stamp("2026-08-01T09:30:00Z"), until=from_stamp("2026-08-01T10:00:00Z")
    )
    assert {one.source for one in await entries(documents, wanted)} == {EntrySource.EVENT}


def test_around_a_file_is_what_happened_about_its_times(tree: Path) -> None:
    lines = invoke(tree, "--around", "/old", "--window", "10", "--until", "1970-02-01").stdout
    assert [line.split()[3] for line in lines.splitlines()] == ["/old"]
    missing = invoke(tree, "--around", "/nowhere")
    assert missing.exit_code == 1 and "No file '/nowhere' with a time" in missing.stderr


def test_a_bodyfile_has_one_line_a_file_and_no_name_adds_a_field(tree: Path) -> None:
    rows = [line.split("|") for line in invoke(tree, "--format", "bodyfile").stdout.splitlines()]
    assert {len(row) for row in rows} == {11}
    files = {row[1]: row for row in rows if "(capture)" not in row[1]}
    assert "[web] /=cmd\\x7cx\\n" in files and "[web] /a\\xff" in files
    assert "[web] /link -> a\\x7cb" in files
    old = files["[web] /old"]
    assert old[3] == "r/rrw-r--r--" and old[6] == "3" and old[8] == "86400"
    assert files["[web] /before"][8] == "-5"


def test_timesketch_takes_every_line(tree: Path) -> None:
    rows = [json.loads(line) for line in invoke(tree, "--format", "timesketch").stdout.splitlines()]
    assert all({"message", "datetime", "timestamp", "timestamp_desc"} <= row.keys() for row in rows)
    (odd,) = (r for r in rows if r.get("filename") == "/a\\xff" and r["timestamp"] == 9_000_000)
    assert odd["datetime"] == "1970-01-01T00:00:09.000000+00:00"
    (late,) = (r for r in rows if r["timestamp"] == 2**33 * 1_000_000)
    assert late["datetime"].startswith("2242-")


def test_programs_get_one_document(documents: Path) -> None:
    result = invoke(documents, "-o", "json")
    told = json.loads(result.stdout)
    plain = invoke(documents, "--format", "timesketch").stdout.splitlines()
    assert told["entries"] == [json.loads(line) for line in plain]
    assert told["genuine"] and "no index of the files of 'web'" in told["missing"][0]
    nothing = json.loads(invoke(documents, "-o", "json", "--until", "1970-01-01").stdout)
    assert nothing["entries"] == []


@pytest.mark.parametrize(
    ("name", "layout"),
    [("a.txt", "table"), ("a.csv", "csv"), ("a.jsonl", "timesketch"), ("a.body", "bodyfile")],
)
def test_the_name_of_a_file_says_its_format(
    tree: Path, tmp_path: Path, name: str, layout: str
) -> None:
    result = invoke(tree, "-o", tmp_path / name)
    assert result.stdout == "" and f"The timeline is in {tmp_path / name}" in result.stderr
    assert (tmp_path / name).read_text() == invoke(tree, "--format", layout).stdout
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    other = invoke(tree, "-o", tmp_path / name, "--format", "csv")
    assert other.exit_code == 0 and (tmp_path / name).read_text().startswith("datetime,")


def test_nothing_is_left_of_a_timeline_that_failed(documents: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "x.csv").write_text("before")
    assert invoke(documents, "-o", folder / "x.csv", "-c", "nobody").exit_code == 2
    assert [path.read_text() for path in folder.iterdir()] == ["before"]


def test_no_cell_is_a_formula(tree: Path) -> None:
    rows = list(csv.reader(io.StringIO(invoke(tree, "--format", "csv").stdout)))
    assert rows[0][:3] == ["datetime", "timestamp_desc", "source"]
    line = csv_line(csv_cells(TimelineEntry(0, EntrySource.LOG, "web", "=1+1", "t", "-x")))
    assert line == "1970-01-01T00:00:00.000000000Z,t,log,web,'=1+1,'-x,"


def test_cells_with_commas_quotes_and_lines_are_read_back_as_they_are() -> None:
    entry = TimelineEntry(0, EntrySource.LOG, "web", 'a "b", c\nd', "t", " x;y")
    (row,) = csv.reader(io.StringIO(csv_line(csv_cells(entry))))
    assert row[4:] == ['a "b", c\\nd', " x;y", ""]


def test_lines_of_what_is_no_file_fit_into_a_bodyfile_too() -> None:
    row = bodyfile_row(TimelineEntry(10**9, EntrySource.LOG, "", "a|b\x1b", "t"), "")
    assert row == "0|[pod] (log) a\\x7cb\\x1b|0|-/----------|0|0|0|1|1|1|1"


def test_what_is_not_genuine_is_named_and_the_rest_is_shown(documents: Path) -> None:
    path = documents / WEB / "logs/0.log"
    path.write_bytes(path.read_bytes().replace(b"shell", b"index"))
    result = invoke(documents)
    assert result.exit_code == 3
    assert "logs/0.log is not what the manifest says: do not rely on" in result.stderr
    assert "nc -e" in result.stdout


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("processes.json", b"{", "processes.json is not JSON"),
        ("processes.json", b'{"processes": [', "its list has no end"),
        ("inspect.json", b"{", "is not JSON"),
        ("logs/0.log.1.gz", b"plain", "is not a gzip file"),
    ],
)
def test_documents_that_are_none(documents: Path, name: str, data: bytes, why: str) -> None:
    replace_object(documents, WEB + name, data)
    assert_promised(documents, WEB + name, data)
    result = invoke(documents)
    assert result.exit_code == 3 and why in result.stderr


def assert_promised(folder: Path, name: str, data: bytes) -> None:
    def edit(document: dict[str, Any]) -> None:
        for row in document["predicate"]["artifacts"]:
            if row["name"] == name:
                row.update(originalSize=len(data), originalSha256=row["sha256"])

    edit_manifest(folder, edit)


def test_an_index_that_is_missing_is_no_failure(documents: Path) -> None:
    result = invoke(documents)
    assert result.exit_code == 0 and "no index of the files of 'web'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--since", "yesterday"], "'yesterday' is not a valid time"),
        (["--since", "2026-11-29", "--until", "2026-11-28"], "--since is not before --until"),
        (["--around", "etc/passwd"], "'etc/passwd' is not an absolute path"),
        (["--since", "2026-08-01T10:00:00+02"], "is not a valid time"),
        (["--until", "2026-08-01T10:00:00 CET"], "is not a valid time"),
        (["--format", "bodyfile", "--since", "2026-08-01"], "cannot be cut by time"),
        (["-c", "nobody"], "no container 'nobody'"),
        (["-o", "x.pdf"], "ends in .txt, .body, .jsonl or .csv, or 'json'"),
        (["-o", "x.body", "--since", "2026-08-01"], "cannot be cut by time"),
        (["-o", "json", "--format", "csv"], "-o json is a format itself"),
    ],
)
def test_wrong_usage_says_what_to_do(documents: Path, arguments: list[str], why: str) -> None:
    result = invoke(documents, *arguments)
    assert result.exit_code == 2 and why in result.stderr


def test_changes_only_needs_the_changes(tree: Path) -> None:
    result = invoke(tree, "--changes-only")
    assert "The changes of 'web' were not captured" in result.stderr
    assert "/old" not in result.stdout


async def test_a_forged_list_of_changes_is_told_and_the_files_are_shown(
    tree: Path, tmp_path: Path
) -> None:
    data = b'{"changes": [\n{"kind": "A", "path": "/old"}\n]}\n'
    folder = tmp_path / "with-changes"
    async with open_destination(str(folder)) as destination:
        bundle = BundleWriter(destination)
        for name in ("rootfs.index.jsonl.zst", "rootfs.lookup.jsonl.zst"):
            await copy_into(bundle, tree, WEB + name)
        await bundle.add(ArtifactSpec(WEB + "diff.json", ArtifactKind.DIFF, "web"), one(data))
        await bundle.finish(capture())
    genuine = await entries(folder)
    assert any("(added)" in entry.message for entry in genuine)
    (
        await to_thread.run_sync(
            (folder / WEB / "diff.json").write_bytes, data.replace(b"old", b"odd")
        )
    )
    notes = Notes()
    async with open_bundle(str(folder)) as opened:
        found = [entry async for batch in timeline(opened, None, notes) for entry in batch]
    assert any(entry.path == "/old" for entry in found) and notes.not_genuine
    assert not any("(added)" in entry.message for entry in found)


async def copy_into(bundle: BundleWriter, source: Path, name: str) -> None:
    """Take an artifact over as it is: plain, and compressed anew frame by frame."""
    async with open_bundle(str(source)) as opened:
        archive = await open_archive(opened, opened.objects[name])
        frames = [await archive.read_frame(number) for number in range(len(archive.frames or ()))]

    async def blocks() -> AsyncIterator[bytes]:
        for frame in frames:
            if frame:
                yield frame

    spec = ArtifactSpec(name, ArtifactKind.FILESYSTEM, "web", compression=Compression.ZSTD)
    await bundle.add(spec, blocks(), framed=True)
