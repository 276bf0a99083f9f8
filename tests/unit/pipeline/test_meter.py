"""What a meter shows while several artifacts are under way."""

from __future__ import annotations

from contextlib import ExitStack

from forensics_core.pipeline.meter import Meter


def test_the_artifact_that_takes_the_longest_is_shown() -> None:
    meter = Meter()
    with meter.during("rootfs"):
        with meter.during("logs"):
            assert meter.current == "rootfs"
        assert meter.current == "rootfs"
    assert meter.current == ""


def test_the_next_one_is_shown_when_the_first_ends() -> None:
    meter = Meter()
    with ExitStack() as later:
        with meter.during("first"):
            later.enter_context(meter.during("second"))
            assert meter.current == "first"
        assert meter.current == "second"
    assert meter.current == ""
