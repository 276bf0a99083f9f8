"""What a source notices is kept, up to a bound, and counted beyond."""

from __future__ import annotations

from forensics_core.bundle.manifest import Remark
from forensics_core.bundle.writer import (
    MAX_NAME,
    MAX_REMARKS,
    MAX_REMARKS_SIZE,
    Findings,
    shortened,
)


def test_the_first_remarks_are_kept_and_all_are_counted() -> None:
    findings = Findings()
    for number in range(MAX_REMARKS + 5):
        findings.remark(f"/{number}", "it changed")
    assert findings.remarks_total == MAX_REMARKS + 5
    assert len(findings.remarks) == MAX_REMARKS
    assert findings.remarks[0] == Remark(path="/0", message="it changed")
    assert findings.remarks[-1].path == f"/{MAX_REMARKS - 1}"


def test_hostile_names_are_cut_and_cannot_fill_the_manifest() -> None:
    findings = Findings()
    for _ in range(1200):
        findings.remark("\x1b" * 25_000, "it changed")
    assert findings.remarks_total == 1200
    assert findings.remarks[0].path == "\x1b" * MAX_NAME + "…"
    written = sum(len(remark.model_dump_json()) for remark in findings.remarks)
    assert 0 < written < 1.1 * MAX_REMARKS_SIZE


def test_a_short_remark_still_fits_after_a_long_one_did_not() -> None:
    findings = Findings()
    while findings.remarks_total == len(findings.remarks):
        findings.remark("\x1b" * MAX_NAME, "\x1b" * MAX_NAME)
    findings.remark("/a", "it changed")
    assert findings.remarks[-1].path == "/a"


def test_only_what_was_cut_shows_it() -> None:
    assert shortened("x" * MAX_NAME) == "x" * MAX_NAME
    assert shortened("x" * (MAX_NAME + 1)) == "x" * MAX_NAME + "…"
