"""Whether a capture moves access times: of a container's files, of its image's layers, of volumes.

Who reads must not wipe out when others did.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyio import to_thread

from collector.files.overlay import parse_mountinfo
from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from lab.containerd import Containerd
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

LONG_AGO = 10**18
"""Nanoseconds: before any of the files was changed, so that each reading would move it."""
VISIT = r"""
mkdir -p /srv/deep/er; echo x > /srv/deep/er/file; ln -s file /srv/deep/er/link
cp /bin/busybox /tmp/tool; chmod 4755 /tmp/tool; echo mine >> /etc/passwd
rm /etc/group; mkdir /etc/group; echo x > /etc/group/inside; touch -r /etc/passwd /etc/shadow
mkdir -p /data/deep; echo x > /data/deep/file; ln -s file /data/deep/link
"""


@dataclass(frozen=True)
class Place:
    """A runtime with an image, and a directory of the node that the container has as /data."""

    scheme: str
    engine: DockerEngine | Containerd
    image: str
    volume: Path

    def container(self) -> AbstractAsyncContextManager[str]:
        if isinstance(self.engine, Containerd):
            return self.engine.container(self.image, binds={"/data": self.volume})
        return self.engine.container(self.image, binds=[f"{self.volume}:/data"])

    async def layers(self, container: str) -> list[Path]:
        """Return the directories of the container's own layer, and of those below."""
        pid = await self.engine.pid(container)
        layers = parse_mountinfo(Path(f"/proc/{pid}/mountinfo").read_bytes())
        assert layers and layers.complete
        return [Path(os.fsdecode(path)).resolve() for path in (layers.upper, *layers.lower_layers)]


@pytest.fixture(params=["docker", "containerd"])
def place(
    request: pytest.FixtureRequest,
    use_env: Callable[[Mapping[str, str]], None],
    tmp_path: Path,
) -> Place:
    image = {"docker": "image", "containerd": "cri_image"}[request.param]
    engine = request.getfixturevalue(request.param)
    use_env(engine.env)
    volume = tmp_path / "volume"
    volume.mkdir()
    return Place(request.param, engine, request.getfixturevalue(image), volume)


def everything(tops: Sequence[Path]) -> Iterator[Path]:
    for top in tops:
        yield top
        for folder, folders, files in os.walk(top):
            yield from (Path(folder, name) for name in (*folders, *files))


def long_unread(paths: Sequence[Path]) -> None:
    """Set each access time back."""
    for path in paths:
        changed = path.lstat().st_mtime_ns
        os.utime(path, ns=(LONG_AGO, changed), follow_symlinks=False)


async def test_no_access_time_is_moved(place: Place, bundle: Bundle) -> None:
    """By a capture of all there is, the comparison with the image's layers included."""
    async with place.container() as container:
        await place.engine.exec(container, VISIT)
        tops = [*await place.layers(container), place.volume]
        paths = [*everything(tops)]
        await to_thread.run_sync(long_unread, paths)
        await capture_container(
            f"{place.scheme}://{container}",
            to=f"file://{bundle.folder.parent}",
            options=CaptureOptions(
                list(ArtifactKind), name=bundle.folder.name, subpath="", layer_seconds=60
            ),
        )
        moved = [path for path in paths if path.lstat().st_atime_ns != LONG_AGO]
    assert len(paths) > 100 and len(bundle.names()) > 20
    assert moved == []
