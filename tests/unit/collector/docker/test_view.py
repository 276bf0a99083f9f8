"""Where files are, by what Docker Engines of several generations say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from collector.docker.view import storage
from collector.files.overlay import Layers
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
    assert (found.merged, found.layers) == (Path("/m"), Layers(b"/u", (b"/b", b"/a")))


def test_a_rootless_engine_marks_by_attributes_of_users(tmp_path: Path) -> None:
    row = "1 0 0:9 / /m rw - overlay overlay rw,lowerdir=/b:/a,upperdir=/u,userxattr\n"
    (tmp_path / "mountinfo").write_text(row)
    data = {"LowerDir": "/b:/a", "UpperDir": "/u", "MergedDir": "/m"}
    found = storage(said(GraphDriver={"Name": "overlay2", "Data": data}), Host(tmp_path))
    assert found.layers == Layers(b"/u", (b"/b", b"/a"), b"user.overlay.")


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
    assert found.layers == Layers(b"/s/3/fs", (b"/s/2/fs", b"/s/1/fs"))
    stopped = storage(replace(said(**document), pid=None), host)
    assert (stopped.merged, stopped.layers) == (None, None)


def test_another_driver_keeps_what_is_mounted_on(tmp_path: Path) -> None:
    mounts = [{"Destination": "/data"}]
    found = storage(
        said(GraphDriver={"Name": "btrfs", "Data": None}, Mounts=mounts), Host(tmp_path)
    )
    assert (found.layers, found.driver) == (None, "btrfs") and "/data" in found.destinations
