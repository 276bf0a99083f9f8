"""What a source notices is kept, up to a bound, and counted beyond."""

from __future__ import annotations

from forensics_core.evidence.bundle import MAX_REMARKS, Findings
from forensics_core.evidence.manifest import Remark


def test_the_first_remarks_are_kept_and_all_are_counted() -> None:
    findings = Findings()
    for number in range(MAX_REMARKS + 5):
        findings.remark(f"/{number}", "it changed")
    assert findings.remarks_total == MAX_REMARKS + 5
    assert len(findings.remarks) == MAX_REMARKS
    assert findings.remarks[0] == Remark(path="/0", message="it changed")
    assert findings.remarks[-1].path == f"/{MAX_REMARKS - 1}"
