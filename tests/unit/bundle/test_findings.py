"""What a source notices is kept, up to a bound, and counted beyond."""

from __future__ import annotations

from forensics_core.bundle.manifest import Remark
from forensics_core.bundle.writer import (
    MAX_NAME,
    MAX_REMARKS,
    MAX_REMARKS_SIZE,
    SourceNotes,
    shortened,
)


def test_the_first_remarks_are_kept_and_all_are_counted() -> None:
    notes = SourceNotes()
    for number in range(MAX_REMARKS + 5):
        notes.remark(f"/{number}", "it changed")
    assert notes.remarks_total == MAX_REMARKS + 5
    assert len(notes.remarks) == MAX_REMARKS
    assert notes.remarks[0] == Remark(path="/0", message="it changed")
    assert notes.remarks[-1].path == f"/{MAX_REMARKS - 1}"


def test_hostile_names_are_cut_and_cannot_fill_the_manifest() -> None:
    notes = SourceNotes()
    for _ in range(1200):
        notes.remark("\x1b" * 25_000, "it changed")
    assert notes.remarks_total == 1200
    assert notes.remarks[0].path == "\x1b" * MAX_NAME + "…"
    written = sum(len(remark.model_dump_json()) for remark in notes.remarks)
    assert 0 < written < 1.1 * MAX_REMARKS_SIZE


def test_a_short_remark_still_fits_after_a_long_one_did_not() -> None:
    notes = SourceNotes()
    while notes.remarks_total == len(notes.remarks):
        notes.remark("\x1b" * MAX_NAME, "\x1b" * MAX_NAME)
    notes.remark("/a", "it changed")
    assert notes.remarks[-1].path == "/a"


def test_only_what_was_cut_shows_it() -> None:
    assert shortened("x" * MAX_NAME) == "x" * MAX_NAME
    assert shortened("x" * (MAX_NAME + 1)) == "x" * MAX_NAME + "…"
