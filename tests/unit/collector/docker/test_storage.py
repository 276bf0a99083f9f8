"""Where files are, by what Docker Engines of several generations say."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from collector.docker.storage import storage
from collector.files.overlay import OverlayDirectories
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo

BLANK = ContainerInfo("docker://4f2a", "web", "", "", "running", 7, (), b"{}")
MOUNTED = "/var/lib/docker/rootfs/overlayfs/4f2a"
TABLE = f"1 0 0:9 / {MOUNTED} rw - overlay overlay rw,lowerdir=/s/2/fs:/s/1/fs,upperdir=/s/3/fs\n"


def said(**document: object) -> ContainerInfo:
    return replace(BLANK, document=json.dumps(document).encode())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A machine on which the container's file system is mounted."""
    (tmp_path / "mountinfo").write_text(TABLE)
    return Host(tmp_path)


def test_overlay2_says_it_itself(host: Host) -> None:
    data = {"LowerDir": "/b:/a", "UpperDir": "/u", "MergedDir": "/m"}
    found = storage(said(GraphDriver={"Name": "overlay2", "Data": data}), host)
    assert (found.merged, found.layers) == (Path("/m"), OverlayDirectories(b"/u", (b"/b", b"/a")))


def test_a_rootless_engine_marks_by_attributes_of_users(tmp_path: Path) -> None:
    row = "1 0 0:9 / /m rw - overlay overlay rw,lowerdir=/b:/a,upperdir=/u,userxattr\n"
    (tmp_path / "mountinfo").write_text(row)
    data = {"LowerDir": "/b:/a", "UpperDir": "/u", "MergedDir": "/m"}
    found = storage(said(GraphDriver={"Name": "overlay2", "Data": data}), Host(tmp_path))
    assert found.layers == OverlayDirectories(b"/u", (b"/b", b"/a"), b"user.overlay.")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("owner", "marks"), [(0, b"trusted.overlay."), (1000, b"user.overlay.")])
def test_a_stopped_container_of_a_rootless_engine_is_known_by_whose_its_layers_are(
    tmp_path: Path, owner: int, marks: bytes
) -> None:
    (tmp_path / "root/overlay2/1/diff").mkdir(parents=True)
    os.chown(tmp_path / "root/overlay2", owner, owner)
    (tmp_path / "self").mkdir()
    (tmp_path / "self/root").symlink_to(tmp_path / "root")
    (tmp_path / "self/mountinfo").touch()
    data = {"LowerDir": "/a", "UpperDir": "/overlay2/1/diff", "MergedDir": "/overlay2/1/merged"}
    found = storage(said(GraphDriver={"Name": "overlay2", "Data": data}), Host(tmp_path / "self"))
    assert found.layers and found.layers.marks == marks


@pytest.mark.parametrize(
    "document",
    [
        {"GraphDriver": {"Name": "overlayfs", "Data": None}},
        {"GraphDriver": {"Name": "overlay2", "Data": None}},
        {"Storage": {"RootFS": {"Snapshot": {"Name": "overlayfs"}}}},
    ],
)
def test_containerds_image_store_is_looked_up_where_it_is_mounted(
    document: dict[str, object], host: Host
) -> None:
    found = storage(said(**document), host)
    assert found.merged == Path(MOUNTED)
    assert found.layers == OverlayDirectories(b"/s/3/fs", (b"/s/2/fs", b"/s/1/fs"))
    stopped = storage(replace(said(**document), pid=None), host)
    assert (stopped.merged, stopped.layers) == (None, None)


def test_another_driver_keeps_what_is_mounted_on(tmp_path: Path) -> None:
    mounts = [{"Destination": "/data"}]
    found = storage(
        said(GraphDriver={"Name": "btrfs", "Data": None}, Mounts=mounts), Host(tmp_path)
    )
    assert (found.layers, found.driver) == (None, "btrfs") and "/data" in found.destinations


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """An engine's data folder, with what it calls the container inside."""
    for driver in ("vfs", "btrfs", "zfs", "fuse-overlayfs"):
        folder = tmp_path / f"image/{driver}/layerdb/mounts/4f2a"
        folder.mkdir(parents=True)
        (folder / "mount-id").write_text("0ab-1")
    return tmp_path


def of(driver: str, root: Path, **more: object) -> ContainerInfo:
    path = f"{root}/containers/4f2a/hosts"
    document = {"Id": "4f2a", "GraphDriver": {"Name": driver, "Data": None}, "HostsPath": path}
    return said(**{**document, **more})


@pytest.mark.parametrize(
    ("driver", "merged", "plain"),
    [
        ("vfs", None, "vfs/dir/0ab-1"),
        ("btrfs", None, "btrfs/subvolumes/0ab-1"),
        ("zfs", "zfs/graph/0ab-1", None),
        ("fuse-overlayfs", "fuse-overlayfs/0ab-1/merged", None),
        ("windowsfilter", None, None),
    ],
)
def test_drivers_without_layers_keep_containers_under_another_id(
    driver: str, merged: str | None, plain: str | None, whole: Path
) -> None:
    found = storage(of(driver, whole), Host())
    assert found.merged == (whole / merged if merged else None)
    assert found.plain == (whole / plain if plain else None)
    assert found.driver == driver and "/etc/hosts" in found.destinations


@pytest.mark.parametrize("content", [b"../../../etc", b"", b"\xff", None])
def test_an_id_that_is_none_leads_nowhere(content: bytes | None, whole: Path) -> None:
    file = whole / "image/vfs/layerdb/mounts/4f2a/mount-id"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert storage(of("vfs", whole), Host()).plain is None
    assert storage(of("vfs", whole, HostsPath="elsewhere"), Host()).plain is None
