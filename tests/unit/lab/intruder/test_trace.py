from __future__ import annotations

from collections import Counter

import pytest

from lab.intruder.container import CONTAINERD, DOCKER, catalogue
from lab.intruder.on_disk import new_image
from lab.intruder.trace import WORD, plan


@pytest.mark.parametrize("runtime", [DOCKER, CONTAINERD])
def test_a_trace_is_known_by_what_no_other_has(runtime: str) -> None:
    traces = catalogue(new_image(), runtime)
    assert len(traces) >= 80
    assert max(Counter(trace.id for trace in traces).values()) == 1
    assert max(Counter(trace.title for trace in traces).values()) == 1
    anchors = Counter(
        anchor
        for trace in traces
        for anchor in {clue.anchor for clue in trace.content if "{" not in clue.anchor}
    )
    assert max(anchors.values()) == 1
    for trace in traces:
        assert trace.content, trace.id
        assert (
            not {clue.anchor for clue in trace.known if not clue.near}
            & {clue.anchor for clue in trace.content if not clue.near}
            or trace.id == "log-removed"
        ), trace.id


def test_no_two_intruders_leave_the_same() -> None:
    one, other = (plan(catalogue(new_image(), DOCKER)) for _ in range(2))
    assert not set(WORD.findall(one)) & set(WORD.findall(other))


def test_a_plan_is_one_line_a_step_and_ends() -> None:
    lines = plan(catalogue(new_image(), DOCKER)).split(b"\n")
    assert lines[-2:] == [b"end", b""]
    assert all(len(line.split(b"\t")) >= 3 for line in lines[:-2])
    assert b"exec\t" not in plan(catalogue(new_image(), DOCKER))
