"""What a kubelet has mounted into a container: its own files are captured, volumes are gaps."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import pytest

from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from lab.containerd import Containerd
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.mounting import forensics, gap, table, text_of
from tests.unit.bundle.test_document import block

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd talks to root only")

SCRIPT = """
    echo 6.6.6.6 evil >> /etc/hosts; echo bye > /dev/termination-log; echo loot > /dev/shm/loot
    echo kept > /data/kept
"""


async def collect(bundle: Bundle, container: str) -> str:
    """Capture the file system; return the container's name in the bundle."""
    options = CaptureOptions(
        [ArtifactKind.FILESYSTEM], name=bundle.folder.name, subpath="", layer_seconds=60
    )
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
        assert (await text_of(bundle, name, path)).endswith(content)
    volumes = {"mount /data", "mount /etc/token"}
    assert volumes <= bundle.gaps().keys()
    assert str(binds["/data"]) in (gap(bundle, "mount /data").source or "")
    assert table(bundle, name)["/data"]["state"] == "missing"
    for path in ("/data/kept", "/etc/token"):
        shown = await forensics("cat", location, f"{name}:{path}")
        assert shown.returncode == 1 and "was not captured" in shown.stderr
    if running:
        assert bundle.gaps().keys() == volumes
        assert set(bundle.gaps().values()) == {"NotRequested"}
        assert await text_of(bundle, name, "/dev/shm/loot") == "loot\n"


@pytest.fixture
def volumes(tmp_path: Path) -> Mapping[str, Path]:
    """Volumes in the folders in which a kubelet makes them."""
    plugins = tmp_path / "pods/0c8f/volumes"
    made = {
        "/run/token": plugins / "kubernetes.io~projected/token",
        "/etc/config": plugins / "kubernetes.io~configmap/config",
        "/etc/password": plugins / "kubernetes.io~secret/password",
        "/scratch": plugins / "kubernetes.io~empty-dir/scratch",
        "/data": plugins / "kubernetes.io~csi/pvc-1/mount",
    }
    for folder in made.values():
        (folder / "..2026").mkdir(parents=True)
        (folder / "..2026/key").write_text(f"of {folder.name}")
        (folder / "key").symlink_to("..2026/key")
    (made["/etc/password"] / "..2026/key").write_text("of config")
    return made


async def test_volumes_of_secrets_are_listed_by_keyed_digests_unless_they_are_named(
    containerd: Containerd,
    cri_image: str,
    volumes: Mapping[str, Path],
    bundle: Bundle,
    use_env: Callable[[Mapping[str, str]], None],
) -> None:
    use_env(containerd.env)
    kinds = [ArtifactKind.FILESYSTEM, ArtifactKind.VOLUMES]
    options = CaptureOptions(
        kinds, name=bundle.folder.name, subpath="", layer_seconds=60, volumes=["token"]
    )
    async with containerd.container(cri_image, binds=volumes) as container:
        to = str(bundle.folder.parent)
        result = await capture_container(f"containerd://{container}", to=to, options=options)
    name, location = bundle.capture.containers[0].name, str(bundle.folder)
    assert not result.partial
    assert bundle.gaps() == {"mount /etc/config": "Withheld", "mount /etc/password": "Withheld"}
    for path, content in (
        ("/run/token/..2026/key", "of token"),
        ("/scratch/..2026/key", "of scratch"),
        ("/data/..2026/key", "of mount"),
    ):
        assert await text_of(bundle, name, path) == content
    hidden = await forensics("cat", location, f"{name}:/etc/password/..2026/key")
    assert hidden.returncode == 1 and "names and keyed digests" in hidden.stderr
    document = bundle.json(f"containers/{name}/mounts.json")
    key = bytes.fromhex(document["digestKey"])
    assert document["digest"] == "HMAC-SHA256" and len(key) == 32
    rows = table(bundle, name)
    sorts = {path: rows[path]["volume"]["sort"] for path in volumes}
    assert sorts == {
        "/run/token": "projected",
        "/etc/config": "configMap",
        "/etc/password": "secret",
        "/scratch": "emptyDir",
        "/data": "persistentVolumeClaim",
    }
    digests = {}
    for path in ("/etc/config", "/etc/password"):
        assert rows[path]["state"] == "listed"
        files = {row["path"]: row for row in rows[path]["files"]}
        assert files[f"{path}/key"]["target"] == "..2026/key"
        digests[path] = files[f"{path}/..2026/key"]["hmac"]
    assert digests["/etc/config"] == hmac.digest(key, b"of config", "sha256").hex()
    assert digests["/etc/password"] == digests["/etc/config"]  # the same value in both
    shown = await anyio.run_process(
        ["bash", "-euc", block("openssl dgst -sha256 -mac")],
        cwd=bundle.folder / "containers" / name,
        env={**os.environ, "value": "of config"},
    )
    assert digests["/etc/config"] in shown.stdout.decode()
    stored = b"".join(file.read_bytes() for file in bundle.folder.rglob("*") if file.is_file())
    assert hashlib.sha256(b"of config").hexdigest().encode() not in stored
