"""`layers.json`: whether the image's layers on the node are what the image promises.

What a container changed is in `diff.json`. What somebody changed on the node, in a directory that
all containers of an image share, is in no upper directory: only the image can tell. Shape::

    {"image": "sha256:...", "manifest": "sha256:...", "layers": [{"diffId": "sha256:...",
     "result": "proven" | "differs" | "unproven", "reason": ..., "differences": [...]}, ...]}

`collector.layers.check` says what is in a row; the lowest layer comes first. Layers that several
containers share are read once, the smallest first, for a part of the time that the capture took.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

import anyio

from collector.container import ContainerCapture
from collector.documents import streamed
from collector.layers.check import LayerCheck
from collector.layers.promised import ImageLayers, PromisedLayer
from collector.node.abandonable import raise_if_abandoned, run_abandonable
from collector.runtimes.runtime import Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.layout import LAYERS
from forensics_core.errors import ContainerGone, ForensicsError

METHOD = "layer-digests"
SHARE, MIN_SECONDS, MAX_SECONDS = 0.2, 0.3, 30.0
"""Of the capture's time until then, in seconds at least and at most: somebody waits for its end to
stop the pod, and layers stay on the node longer than that."""
TURN = 0.2
"""Seconds of work after which it is looked whether there is time for more."""
TIMEOUT = 60.0
"""Seconds that one turn may take before the storage counts as stuck."""
OPENING = 30.0
"""Seconds that the runtime may take to say what it knows of one image."""


def seconds_for(wanted: float | None, elapsed: float) -> float:
    """Return how long layers are compared, after a capture of `elapsed` seconds."""
    return wanted if wanted is not None else min(max(elapsed * SHARE, MIN_SECONDS), MAX_SECONDS)


async def collect(captures: Sequence[ContainerCapture], seconds: float) -> None:
    """Compare the layers of all containers, for `seconds` at most, and store what came out."""
    wanted = [each for each in captures if _kind(each)]
    if not wanted:
        return
    if not seconds:
        for capture in wanted:
            message = "They are not compared with what the image promises: --layer-seconds is 0"
            _record_unproven(capture, "NotRequested", message)
        return
    if wanted[0].is_over:
        for capture in wanted:
            _record_unproven(
                capture, capture.stop.reason, "The capture ended before they were compared"
            )
        return
    work, meter = _LayerWork(anyio.current_time() + seconds), wanted[0].bundle.meter
    meter.artifacts_total += len(wanted)
    for capture in wanted:
        await work.plan(capture)
    meter.artifacts_total -= len(wanted) - len(work.images)
    await work.compare()
    for capture, image in work.images:
        await work.store(capture, image)


def _kind(capture: ContainerCapture) -> ArtifactKind | None:
    """Return what the file is a part of, of that which was asked for."""
    kinds = (ArtifactKind.DIFF, ArtifactKind.FILESYSTEM)
    return next((kind for kind in kinds if kind in capture.wanted), None)


@dataclass(slots=True)
class _LayerWork:
    """The layers of all containers, each once."""

    until: float
    """By the event loop's clock."""
    images: list[tuple[ContainerCapture, ImageLayers]] = field(default_factory=list)
    checks: dict[tuple[str, bytes], tuple[LayerCheck, ContainerCapture]] = field(
        default_factory=dict
    )

    async def plan(self, capture: ContainerCapture) -> None:
        """Ask what the image promises; that nobody can tell is a gap."""
        try:
            with anyio.fail_after(OPENING):
                image = await capture.runtime.image_layers(capture.container)
        except TimeoutError:
            _record_unproven(
                capture, "Hung", f"The runtime said nothing of the image for {OPENING:g} s"
            )
        except Unavailable as why:
            _record_unproven(capture, why.reason, str(why))
        except ContainerGone as error:
            _record_unproven(capture, "Gone", f"The image was removed, or the container: {error}")
        except (ForensicsError, OSError) as error:
            _record_unproven(capture, "Unreadable", str(error))
        except Exception as error:  # what an image can provoke must not cost the evidence
            _record_unproven(capture, "Unexpected", f"{type(error).__name__}: {error}")
        else:
            self.images.append((capture, image))
            for layer in image.layers:
                check = LayerCheck(layer, image, time.monotonic() + self.left)
                self.checks.setdefault(_key(layer), (check, capture))

    @property
    def left(self) -> float:
        """Seconds."""
        return max(self.until - anyio.current_time(), 0.0)

    async def compare(self) -> None:
        """Compare one layer after the other, the smallest first, while there is time."""
        for check, capture in sorted(
            self.checks.values(), key=lambda each: each[0].layer.size or each[0].layer.bottom
        ):
            try:
                await self._compare(check, capture)
            except Unavailable as hung:
                check.end(hung.reason, f"The storage said nothing for {TIMEOUT:.0f} s")
            except Exception as error:  # what an image can provoke must not cost the evidence
                check.end("Unexpected", f"{type(error).__name__}: {error}")

    async def _compare(self, check: LayerCheck, capture: ContainerCapture) -> None:
        steps, more = check.steps(), True
        while more:
            if capture.is_over:
                check.end(capture.stop.reason, "The capture ended before all of it was compared")
            if capture.is_over or not self.left:
                return
            await capture.rate_limit.turn()
            size, more = await run_abandonable(TIMEOUT, LAYERS, _turn, steps)
            capture.rate_limit.spent(size)

    async def store(self, capture: ContainerCapture, image: ImageLayers) -> None:
        """Store the results of one container's image."""
        checks = [self.checks[_key(layer)][0] for layer in image.layers]
        kind = _kind(capture)
        assert kind  # noqa: S101 - nothing else was planned
        head = {"image": image.image, "manifest": image.manifest}
        blocks = streamed(head, "layers", _rows(checks))
        media_type = "application/json"
        await capture.add(LAYERS, kind, blocks, method=METHOD, media_type=media_type, whole=True)
        unproven = [check for check in checks if check.reason]
        if unproven:
            first = unproven[0]
            message = (
                f"{len(unproven)} of {len(checks)} layers of the image were not compared with what "
                f"it promises, or not to their end: {LAYERS} has the reason of each. "
                f"{first.layer.diff_id}: {first.message}"
            )
            _record_unproven(capture, first.reason, message)


def _key(layer: PromisedLayer) -> tuple[str, bytes]:
    return layer.diff_id, layer.folder


def _record_unproven(capture: ContainerCapture, reason: str, message: str) -> None:
    """Tell that layers are not proven: what was asked for is all there without."""
    capture.record_gap("image layers", reason, message, requested=False)


def _turn(steps: Iterator[int]) -> tuple[int, bool]:
    """Do a turn of work; return the bytes that it read, and whether there may be more."""
    end, size = time.monotonic() + TURN, 0
    for step in steps:
        raise_if_abandoned()
        size += step
        if time.monotonic() >= end:
            return size, True
    return size, False


async def _rows(checks: Sequence[LayerCheck]) -> AsyncIterator[list[str]]:
    for check in checks:
        yield [json.dumps(check.row(), ensure_ascii=False)]
