"""`diff.json` says where the list was cut, and where it moved while it was made."""

from __future__ import annotations

import os
from functools import partial
from uuid import uuid4

import pytest

from collector.artifacts import diff
from collector.capture import capture
from collector.changes import ChangeSet, Rows
from collector.docker import DockerRuntime
from forensics_core.api.order import ArtifactKind, Target, WorkOrder
from forensics_core.evidence.manifest import Artifact, Flag
from forensics_core.export.folder import FolderDestination
from lab.docker import Engine
from tests.integration.collector.conftest import Bundle

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers are read by root only")


async def diff_of(runtime: DockerRuntime, container: str, bundle: Bundle) -> Artifact:
    order = WorkOrder(
        destination="file:///unused",
        bundle="case",
        uid=uuid4(),
        targets=(Target(name="web", container_id=f"docker://{container}"),),
        artifacts=(ArtifactKind.DIFF,),
    )
    await capture(order, runtime, FolderDestination(bundle.folder))
    (artifact,) = [each for each in bundle.capture.artifacts if each.container]
    return artifact


async def test_a_list_that_is_too_long(
    docker: Engine,
    image: str,
    runtime: DockerRuntime,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diff, "ChangeSet", partial(ChangeSet, max_rows=3))
    async with docker.container(image) as container:
        await docker.exec(container, "touch /tmp/1 /tmp/2 /tmp/3 /tmp/4")
        artifact = await diff_of(runtime, container, bundle)
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
    docker: Engine,
    image: str,
    runtime: DockerRuntime,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diff, "ChangeSet", Disturbed)
    async with docker.container(image) as container:
        await docker.exec(container, "mkdir /tmp/a; touch /tmp/a/inside")
        artifact = await diff_of(runtime, container, bundle)
    assert artifact.flags == (Flag.CHANGED_WHILE_READ,)
    assert [remark.path for remark in artifact.remarks] == ["/tmp/a"]
    paths = [row["path"] for row in bundle.json("containers/web/diff.json")["changes"]]
    assert paths == ["/tmp", "/tmp/a"]
