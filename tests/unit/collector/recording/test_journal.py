"""Events are put in order, counted where they repeat, and bounded."""

from __future__ import annotations

import json
from typing import Any

from collector.recording.journal import EventJournal
from collector.recording.limits import RecordingLimits


def drained(journal: EventJournal) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.drain().splitlines()]


def test_the_same_within_one_interval_is_one_row_with_a_count() -> None:
    journal = EventJournal(RecordingLimits())
    for path in ("/a", "/b", "/a"):
        journal.note("write", (7, path), {"pid": 7, "path": path})
    first, second = drained(journal)
    assert (first["path"], first["count"], second["path"]) == ("/a", 2, "/b")
    assert first["last"] >= second["monotonic"] >= first["monotonic"] and "count" not in second


def test_events_without_a_key_are_never_the_same() -> None:
    journal = EventJournal(RecordingLimits())
    journal.note("fork", None, {"pid": 7})
    journal.note("fork", None, {"pid": 7})
    assert len(drained(journal)) == 2 and drained(journal) == []


def test_what_waits_is_bounded_by_number_and_by_size() -> None:
    few, small = (
        EventJournal(RecordingLimits(waiting=2)),
        EventJournal(RecordingLimits(waiting_size=1000)),
    )
    for journal in (few, small):
        for number in range(5):
            journal.note("write", number, {"path": "x" * 200})
    assert (len(drained(few)), few.lost["write"]) == (2, 3)
    assert (len(drained(small)), small.lost["write"]) == (2, 3)
    few.note("write", 9, {})
    assert len(drained(few)) == 1


def test_the_whole_recording_is_bounded_by_rows_and_by_size() -> None:
    short, small = EventJournal(RecordingLimits(rows=3)), EventJournal(RecordingLimits(size=50))
    for journal in (short, small):
        for number in range(5):
            journal.note("write", number, {"path": "x"})
            journal.drain()
    assert (short.rows, short.lost["write"]) == (3, 2)
    assert (small.rows, small.lost["write"]) == (1, 4)
    assert json.loads(short.spell("ended", lost=dict(short.lost)))["lost"] == {"write": 2}
