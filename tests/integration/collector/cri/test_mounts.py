"""What a kubelet has mounted into a container: its own files are captured, volumes are gaps."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from lab.containerd import Containerd
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.mounting import forensics, gap, table

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd talks to root only")

SCRIPT = """
    echo 6.6.6.6 evil >> /etc/hosts; echo bye > /dev/termination-log; echo loot > /dev/shm/loot
    echo kept > /data/kept
"""


async def collect(bundle: Bundle, container: str) -> str:
    """Capture the file system; return the container's name in the bundle."""
    options = CaptureOptions([ArtifactKind.FILESYSTEM], name=bundle.folder.name, subpath="")
    to = str(bundle.folder.parent)
    result = await capture_container(f"containerd://{container}", to=to, options=options)
    assert not result.partial
    return bundle.capture.containers[0].name


@pytest.fixture
def binds(tmp_path: Path) -> Mapping[str, Path]:
    """A pod's own files, as the kubelet makes them, an emptyDir, and one file of a Secret."""
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    (tmp_path / "log").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "token").write_text("secret")
    return {
        "/etc/hosts": tmp_path / "hosts",
        "/dev/termination-log": tmp_path / "log",
        "/data": tmp_path / "data",
        "/etc/token": tmp_path / "token",
    }


@pytest.mark.parametrize("running", [True, False])
async def test_files_of_the_pod_and_its_volumes(
    running: bool,
    containerd: Containerd,
    cri_image: str,
    binds: Mapping[str, Path],
    bundle: Bundle,
    use_env: Callable[[Mapping[str, str]], None],
) -> None:
    use_env(containerd.env)
    async with containerd.container(cri_image, binds=binds) as container:
        await containerd.exec(container, SCRIPT)
        if not running:
            await containerd.stop(container)
        name = await collect(bundle, container)
    location = str(bundle.folder)
    for path, content in (("/etc/hosts", "6.6.6.6 evil\n"), ("/dev/termination-log", "bye\n")):
        shown = await forensics("cat", location, f"{name}:{path}")
        assert shown.returncode == 0 and shown.stdout.endswith(content)
    volumes = {"mount /data", "mount /etc/token"}
    assert volumes <= bundle.gaps().keys()
    assert str(binds["/data"]) in (gap(bundle, "mount /data").source or "")
    assert table(bundle, name)["/data"]["state"] == "missing"
    for path in ("/data/kept", "/etc/token"):
        shown = await forensics("cat", location, f"{name}:{path}")
        assert shown.returncode == 1 and "was not captured" in shown.stderr
    if running:
        assert bundle.gaps().keys() == volumes
        shown = await forensics("cat", location, f"{name}:/dev/shm/loot")
        assert shown.stdout == "loot\n"
