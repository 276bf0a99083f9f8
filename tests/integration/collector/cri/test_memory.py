"""The memory of a pod's container, by way of containerd."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest

from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from lab.containerd import Containerd
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.memory.reading import cores

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd talks to root only")


async def test_memory_of_a_pod(
    containerd: Containerd,
    cri_image: str,
    use_env: Callable[[Mapping[str, str]], None],
    bundle: Bundle,
) -> None:
    use_env(containerd.env)
    async with containerd.container(cri_image) as container:
        options = CaptureOptions([ArtifactKind.MEMORY], name="case", subpath="", layer_seconds=60)
        to = str(bundle.folder.parent)
        await capture_container(f"containerd://{container}", to=to, options=options)
    assert not bundle.capture.partial
    found = cores(bundle)
    assert found and all(core.row["held"]["how"] == "ptrace" for core in found.values())
    assert all(core.notes("NT_PRSTATUS") for core in found.values())
    assert bundle.gaps()["memory by the kubelet's checkpoint"] == "NotSupported"
