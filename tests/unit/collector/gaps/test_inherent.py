"""What every capture lacks is told once, and only where somebody would look for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collector.gaps.inherent import KERNEL, MEMORY, inherent_gaps
from collector.runtimes.runtime import ContainerInfo
from forensics_core.api.order import DEFAULT_ARTIFACTS, ArtifactKind

RUNNING = ContainerInfo(
    container_id="docker://4f2a",
    name="web",
    image="",
    image_id="",
    state="running",
    pid=7,
    log_streams=(),
    document=b"{}",
)
ENDED = replace(RUNNING, pid=None, state="exited")


@pytest.mark.parametrize(
    ("containers", "wanted", "told"),
    [
        ([RUNNING, RUNNING], DEFAULT_ARTIFACTS, [MEMORY, MEMORY, KERNEL]),
        ([RUNNING], (*DEFAULT_ARTIFACTS, ArtifactKind.MEMORY), [KERNEL]),
        ([RUNNING], (ArtifactKind.FILESYSTEM, ArtifactKind.DIFF), []),
        ([RUNNING, ENDED], (ArtifactKind.PROCESSES,), [MEMORY, KERNEL]),
        ([ENDED], DEFAULT_ARTIFACTS, []),
        ([], DEFAULT_ARTIFACTS, []),
    ],
)
def test_what_every_capture_lacks(
    containers: list[ContainerInfo], wanted: tuple[ArtifactKind, ...], told: list[str]
) -> None:
    gaps = list(inherent_gaps([("web", each) for each in containers], wanted))
    assert [gap.what for gap in gaps] == told
    assert not any(gap.requested for gap in gaps)


def test_what_was_not_asked_for_of_the_node_is_told_with_the_rest() -> None:
    *_, whole = inherent_gaps([("web", RUNNING)], DEFAULT_ARTIFACTS)
    *_, less = inherent_gaps([("web", RUNNING)], (ArtifactKind.PROCESSES,))
    assert "firewall rules, connections" in less.message and "keyrings" in less.message
    assert "connections" not in whole.message and "modules" not in whole.message
