"""Where files are, by containerd's mounts, by CRI-O's folders, or by the kernel."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from collector.cri._proto import containerd_pb2 as containerd
from collector.cri.storage import storage
from collector.files.overlay import Layers
from collector.node.host import Host
from collector.node.procfs import HOST_PROC
from collector.runtimes.runtime import ContainerInfo

HOST = Host()
BLANK = ContainerInfo("containerd://abc", "web", "", "", "exited", None, (), b'{"info": {}}')


def container(info: object) -> ContainerInfo:
    return replace(BLANK, document=json.dumps({"info": {"info": info}}).encode())


def test_an_overlay_of_containerd() -> None:
    mount = containerd.Mount(
        type="overlay", options=["index=off", "workdir=/w", "upperdir=/u", "lowerdir=/b:/a"]
    )
    found = storage(container({"snapshotter": "overlayfs"}), [mount], HOST)
    assert found.layers == Layers(b"/u", (b"/b", b"/a"))
    assert (found.merged, found.plain, found.driver) == (None, None, "overlayfs")


def test_a_snapshot_that_is_a_whole_copy() -> None:
    mount = containerd.Mount(type="bind", source="/snapshots/3", options=["rbind", "rw"])
    found = storage(container({"snapshotter": "native"}), [mount], HOST)
    assert (found.layers, found.plain) == (None, Path("/snapshots/3"))


def test_the_folders_of_cri_o(tmp_path: Path) -> None:
    layer = tmp_path / "overlay/abc"
    layer.mkdir(parents=True)
    (layer / "lower").write_text("l/TWO:l/ONE")
    info = {"runtimeSpec": {"root": {"path": f"{layer}/merged"}}}
    found = storage(container(info), [], HOST)
    folder = os.fsencode(tmp_path / "overlay")
    assert found.merged == layer / "merged"
    assert found.layers == Layers(folder + b"/abc/diff", (folder + b"/l/TWO", folder + b"/l/ONE"))


def test_another_driver_of_cri_o(tmp_path: Path) -> None:
    info = {"runtimeSpec": {"root": {"path": f"{tmp_path}/merged"}}}
    assert storage(container(info), [], HOST).layers is None


OVERLAY = "1 0 0:9 / {} rw - overlay overlay rw,lowerdir={},upperdir=/u,workdir=/w\n"


def test_the_machine_is_asked_last_and_the_container_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/mountinfo").write_text(OVERLAY.format("/", "/host/secret"))
    (tmp_path / "mountinfo").write_text(OVERLAY.format("/run/abc/rootfs", "/image"))
    monkeypatch.setenv(HOST_PROC, str(tmp_path))
    running = replace(container({"runtimeSpec": {"root": "odd"}}), pid=7)
    found = storage(running, [], Host(tmp_path))
    assert found.merged == Path("/run/abc/rootfs")
    assert found.layers == Layers(b"/u", (b"/image",))
    (tmp_path / "mountinfo").write_text("")
    assert storage(running, [], Host(tmp_path)).layers is None
    (tmp_path / "mountinfo").unlink()
    assert storage(running, [], Host(tmp_path)).layers is None


def test_a_mount_table_that_is_gone(tmp_path: Path) -> None:
    assert storage(container({}), [], Host(tmp_path)).merged is None
