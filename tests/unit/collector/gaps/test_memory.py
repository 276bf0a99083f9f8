"""What cores lack is a gap for each reason, and no more for a thousand processes."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from collector.container import ContainerCapture
from collector.gaps.memory import _LOSSES, Losses
from collector.runtimes.runtime import Runtime
from tests.unit.collector.artifacts.test_mounts import LocalRuntime, scene_of


class PodRuntime(LocalRuntime):
    scheme = "containerd"


async def capture_in(folder: Path) -> ContainerCapture:
    capture = await scene_of(folder, folder / "bundle")
    capture.runtime = cast(Runtime, PodRuntime(folder))
    return capture


@pytest.mark.parametrize("what", [*_LOSSES])
async def test_a_gap_for_each_reason(what: str, tmp_path: Path) -> None:
    capture = await capture_in(tmp_path)
    losses = Losses()
    for pid in range(1000, 2000):
        losses.add(what, pid, 7, "Because of it")
    losses.account(capture, 0, 0)
    gaps = [gap for gap in capture.bundle.not_captured if "kubelet" not in gap.what]
    (gap,) = gaps
    assert "1000" in gap.message and "and 950 more" in gap.message
    assert gap.message.endswith(". Because of it") and len(gap.message) < 1000


async def test_registers_that_nobody_asked_for_are_no_loss(tmp_path: Path) -> None:
    capture = await capture_in(tmp_path)
    capture.freeze = False
    losses = Losses()
    losses.add("registers", 7, 3)
    losses.account(capture, 0, 0)
    assert {gap.reason for gap in capture.bundle.not_captured if gap.what == "registers"} == {
        "NotRequested"
    }
    assert not any(gap.requested for gap in capture.bundle.not_captured)


async def test_what_belongs_in_no_core_is_told_with_the_registers_that_are_not_asked_for(
    tmp_path: Path,
) -> None:
    capture = await capture_in(tmp_path)
    losses = Losses()
    losses.omitted.update(kernel=4096, device=0)
    losses.account(capture, 0, 0)
    (gap,) = capture.bundle.not_captured
    assert "4096 bytes of the kernel's own pages" in gap.message and "AVX" in gap.message


async def test_files_without_a_digest_are_told(tmp_path: Path) -> None:
    capture = await capture_in(tmp_path)
    Losses().account(capture, 3, 4)
    (gap,) = (gap for gap in capture.bundle.not_captured if gap.reason == "NotHashed")
    assert gap.message.startswith("3 mapped files") and not gap.requested
