from __future__ import annotations

import io
from collections.abc import Sequence

import pytest

from bench.recall.judge import GapRemark, TraceOutcome, TraceVerdict, judge
from bench.recall.outputs import CHUNK
from lab.intruder.container import PlantedTrace
from lab.intruder.trace import Clue, Trace, address_clues, marker, name, words

MARK, CALLED = marker(), name()


def planted(
    content: tuple[Clue, ...] = words(MARK), known: tuple[Clue, ...] = words(CALLED), gap: str = ""
) -> PlantedTrace:
    return PlantedTrace(Trace("one", "files", "one", (), content, known, gap), content, known, gap)


def judged(one: PlantedTrace, *outputs: bytes, said: Sequence[str] = ()) -> TraceVerdict:
    named = ((f"file-{n}", io.BytesIO(content)) for n, content in enumerate(outputs))
    (verdict,) = judge([one], named, map(GapRemark, said))
    return verdict


def test_content_that_came_home_counts_wherever_it_is() -> None:
    verdict = judged(planted(), b"nothing", b"x" * 99 + MARK.encode() + b"x")
    assert (verdict.outcome, verdict.where) == (TraceOutcome.BYTES, "file-1")


def test_a_name_without_content_is_a_name_only() -> None:
    assert judged(planted(), CALLED.encode()).outcome is TraceOutcome.NAME


def test_a_name_may_be_told_as_missing_too() -> None:
    verdict = judged(planted(), CALLED.encode(), said=[f"deleted file /tmp/{CALLED}"])
    assert (verdict.outcome, verdict.reported) == (TraceOutcome.NAME, True)


@pytest.mark.parametrize(
    ("gap", "said"),
    [("", f"mount /srv/{CALLED}"), ("^memory", "Memory of processes"), ("eBPF", "no eBPF\nhere")],
    ids=["name", "gap", "several lines"],
)
def test_what_a_tool_says_that_it_lacks_is_told(gap: str, said: str) -> None:
    assert judged(planted(gap=gap), said=["something else", said]).outcome is TraceOutcome.REPORTED


def test_what_nobody_mentions_is_silently_missing() -> None:
    verdict = judged(planted(gap="^memory"), b"all else", said=["network"])
    assert (verdict.outcome, verdict.reported) == (TraceOutcome.SILENT, False)


@pytest.mark.parametrize("before", [CHUNK - 7, CHUNK - 401, 2 * CHUNK - 1, 3 * CHUNK])
def test_what_lies_across_two_pieces_of_a_stream_is_found(before: int) -> None:
    fact = planted((Clue(CALLED, "immutable"),))
    row = f'{CALLED}", "attributes": ["immutable"]'.encode()
    assert judged(fact, bytes(before) + row + bytes(9)).outcome is TraceOutcome.BYTES


def test_a_fact_counts_only_beside_its_name() -> None:
    fact = planted((Clue(CALLED, "immutable"),))
    assert judged(fact, CALLED.encode() + bytes(900) + b"immutable").outcome is TraceOutcome.NAME
    again = CALLED.encode() + bytes(900) + CALLED.encode() + b" immutable"
    assert judged(fact, again).outcome is TraceOutcome.BYTES


def test_a_number_within_a_longer_one_is_another_one() -> None:
    number = planted((Clue("4232751"),), ())
    assert judged(number, b"14232751 42327512 a4232751").outcome is TraceOutcome.SILENT
    assert judged(number, b"14232751 4232751\n").outcome is TraceOutcome.BYTES


@pytest.mark.parametrize("written", [b"127.1.2.3:80", b" 0302017F:0050 ", b'"0302017f"'])
def test_an_address_counts_as_the_kernel_writes_it_too(written: bytes) -> None:
    assert judged(planted(address_clues("127.1.2.3")), written).outcome is TraceOutcome.BYTES
