"""`diff.json` says where the list was cut, and where it moved while it was made."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from collector.artifacts import diff
from collector.artifacts.kinds import KINDS, KindCapture
from collector.capture import capture
from collector.docker.runtime import DockerRuntime
from collector.files.changes import ChangeSet, OpenLayers, Rows
from collector.files.safe_open import FOLDER, opened
from collector.limits import Stop
from collector.runtimes.runtime import ContainerInfo, Runtime
from forensics_core.api.order import ArtifactKind, ContainerTarget, WorkOrder
from forensics_core.bundle.manifest import Artifact, Flag
from forensics_core.storage.local import LocalStorage
from forensics_core.storage.objects import ObjectWriter
from lab.docker import DockerEngine
from tests.integration.collector.artifacts.test_processes import capture_for
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.folder_container import FolderRuntime
from tests.integration.collector.stuck import stuck

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers are read by root only")


async def diff_of(
    runtime: DockerRuntime,
    container: str,
    bundle: Bundle,
    destination: LocalStorage | None = None,
    stop: Stop | None = None,
    *,
    limits: diff.DiffLimits = diff.LIMITS,
    walk: type[ChangeSet] = ChangeSet,
) -> Artifact:
    order = WorkOrder(
        destination="file:///unused",
        bundle="case",
        uid=uuid4(),
        targets=(ContainerTarget(name="web", container_id=f"docker://{container}"),),
        artifacts=(ArtifactKind.DIFF,),
        layer_seconds=60,
    )
    kind = KindCapture(partial(diff.collect, limits=limits, walk=walk), cuttable=True)
    to = destination or LocalStorage(bundle.folder)
    await capture(order, runtime, to, stop=stop, kinds={**KINDS, ArtifactKind.DIFF: kind})
    (artifact,) = [each for each in bundle.capture.artifacts if each.name.endswith("diff.json")]
    return artifact


async def test_a_list_that_is_too_long(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        await docker.exec(container, "touch /tmp/1 /tmp/2 /tmp/3 /tmp/4")
        artifact = await diff_of(runtime, container, bundle, limits=diff.DiffLimits(rows=3))
    assert artifact.flags == (Flag.TRUNCATED,)
    assert bundle.gaps() == {"diff.json, its rest": "TooLarge"}
    assert len(bundle.json("containers/web/diff.json")["changes"]) == 3


class Disturbed(ChangeSet):
    """A walk during which the intruder takes a directory away that was seen already."""

    def rows(self) -> Rows:
        for row in super().rows():
            if row and row["path"] == "/tmp/a":
                upper = self.layers.upper
                os.rename("tmp/a", "tmp/b", src_dir_fd=upper, dst_dir_fd=upper)
            yield row


async def test_a_directory_that_went_away(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        await docker.exec(container, "mkdir /tmp/a; touch /tmp/a/inside")
        artifact = await diff_of(runtime, container, bundle, walk=Disturbed)
    assert artifact.flags == (Flag.CHANGED_WHILE_READ,)
    assert [remark.path for remark in artifact.remarks] == ["/tmp/a"]
    paths = [row["path"] for row in bundle.json("containers/web/diff.json")["changes"]]
    assert paths == ["/tmp", "/tmp/a"]


class LayersRuntime(FolderRuntime):
    """Two folders as the layers of a container."""

    @asynccontextmanager
    async def layers(self, _: ContainerInfo) -> AsyncIterator[OpenLayers]:
        with (
            opened(os.open(self.folder / "upper", FOLDER)) as upper,
            opened(os.open(self.folder / "image", FOLDER)) as image,
        ):
            yield OpenLayers(upper, (image,), b"trusted.overlay.")


async def test_storage_that_hangs(bundle: Bundle, tmp_path: Path) -> None:
    for name in ("upper", "image"):
        (tmp_path / name).mkdir()
    capture = capture_for(bundle)
    capture.runtime = cast(Runtime, LayersRuntime(tmp_path))
    with stuck(tmp_path / "upper", beside="early"):
        await diff.collect(capture, diff.DiffLimits(seconds=0.5, turn=1))
    (artifact,) = capture.bundle.artifacts
    assert artifact.flags == (Flag.TRUNCATED,)
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason) == ("diff.json, its rest", "Hung")
    paths = [row["path"] for row in bundle.json("containers/web/diff.json")["changes"]]
    assert paths == ["/early"]


class Broken(ChangeSet):
    """A walk in which much goes wrong."""

    def rows(self) -> Rows:
        self.unreadable.add("/bad")
        self.unlisted.add("/deep")
        self.hashing.skipped += 1
        yield from super().rows()


async def test_what_the_list_lacks_is_said(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        artifact = await diff_of(runtime, container, bundle, walk=Broken)
    assert artifact.flags == (Flag.TRUNCATED,)
    assert bundle.gaps() == {
        "diff.json, directories": "TooLarge",
        "diff.json, details": "Unreadable",
        "diff.json, SHA-256": "TooLarge",
    }


class StopAtDiff(LocalStorage):
    """A folder that asks the capture to end when `diff.json` begins."""

    stop: Stop

    def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        if name.endswith("diff.json"):
            self.stop.request()
        return super().create(name, content_type=content_type)


async def test_a_list_that_is_told_to_end_is_json_all_the_same(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    destination = StopAtDiff(bundle.folder)
    destination.stop = stop = Stop()
    async with docker.container(image) as container:
        await docker.exec(container, "touch /tmp/1 /tmp/2 /tmp/3 /tmp/4")
        one = diff.DiffLimits(turn=1)
        artifact = await diff_of(runtime, container, bundle, destination, stop, limits=one)
    assert artifact.flags == (Flag.TRUNCATED,)
    assert bundle.gaps() == {
        "diff.json, its rest": "Cancelled",
        "image layers": "Interrupted",
    }
    assert bundle.json("containers/web/diff.json")["method"] == "overlay-upperdir"


async def test_a_list_whose_part_of_the_time_is_over_is_json_all_the_same(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    """The deadline of the capture itself is far."""
    async with docker.container(image) as container:
        artifact = await diff_of(runtime, container, bundle, limits=diff.DiffLimits(share=0))
    assert artifact.flags == (Flag.TRUNCATED,)
    assert bundle.gaps() == {"diff.json, its rest": "Deadline"}
    assert bundle.json("containers/web/diff.json")["changes"] == []
