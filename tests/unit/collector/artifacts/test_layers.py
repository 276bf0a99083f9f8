"""Layers of which something odd was said cost a gap, and never the capture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collector.artifacts import layers
from collector.container import ContainerCapture
from collector.layers.promised import ImageLayers, PromisedLayer
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo
from forensics_core.api.order import ArtifactKind
from tests.unit.collector.artifacts.test_found import capture_for


class OddSource:
    """An archive that makes its reader stumble."""

    word, independent, unlooked = "blob", True, 0

    def read(self, folder: int) -> Iterator[bytes]:
        raise LookupError("odd")

    def flaw(self) -> str:
        return ""

    def suspects(self, folder: int) -> Iterator[bytes]:
        return iter(())


@dataclass
class OddRuntime:
    """A runtime that says these layers of an image, or stumbles over it."""

    folder: Path
    layers: list[PromisedLayer] = field(default_factory=list)

    async def image_layers(self, _: ContainerInfo) -> ImageLayers:
        if not self.layers:
            raise KeyError("digest")
        return ImageLayers("sha256:image", tuple(self.layers), Host(), b"user.overlay.")


def odd_capture(folder: Path, *promised: PromisedLayer) -> ContainerCapture:
    capture = capture_for(folder, OddRuntime(folder, [*promised]))
    capture.wanted = frozenset({ArtifactKind.DIFF})
    return capture


@pytest.mark.parametrize("layered", [False, True])
async def test_what_an_image_provokes_is_a_gap(tmp_path: Path, layered: bool) -> None:
    odd = [PromisedLayer("sha256:1", bytes(tmp_path), OddSource())] if layered else []
    capture = odd_capture(tmp_path, *odd)
    await layers.collect([capture], 60)
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason, gap.requested) == ("image layers", "Unexpected", False)
    if layered:
        told = json.loads((tmp_path / "bundle/containers/web/layers.json").read_bytes())
        assert told["layers"][0]["message"] == "LookupError: odd"


async def test_layers_that_nobody_wants_to_have_compared_are_told(tmp_path: Path) -> None:
    capture = odd_capture(tmp_path)
    await layers.collect([capture], 0)
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason) == ("image layers", "NotRequested")
