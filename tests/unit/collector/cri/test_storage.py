"""Where files are, by containerd's mounts, by CRI-O's folders, or by the kernel."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from collector.cri._proto import containerd_pb2 as containerd
from collector.cri.storage import log_names, storage
from collector.files.overlay import OverlayDirectories
from collector.node.host import Host
from collector.node.procfs import HOST_PROC
from collector.runtimes.runtime import ContainerInfo
from tests.unprivileged import READING, without

HOST = Host()
BLANK = ContainerInfo("containerd://abc", "web", "", "", "exited", None, (), b'{"info": {}}')


def container(info: object) -> ContainerInfo:
    return replace(BLANK, document=json.dumps({"info": {"info": info}}).encode())


def test_an_overlay_of_containerd() -> None:
    mount = containerd.Mount(
        type="overlay", options=["index=off", "workdir=/w", "upperdir=/u", "lowerdir=/b:/a"]
    )
    found = storage(container({"snapshotter": "overlayfs"}), [mount], HOST)
    assert found.layers == OverlayDirectories(b"/u", (b"/b", b"/a"))
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
    assert found.layers == OverlayDirectories(
        folder + b"/abc/diff", (folder + b"/l/TWO", folder + b"/l/ONE")
    )


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
    assert found.layers == OverlayDirectories(b"/u", (b"/image",))
    (tmp_path / "mountinfo").write_text("")
    assert storage(running, [], Host(tmp_path)).layers is None
    (tmp_path / "mountinfo").unlink()
    assert storage(running, [], Host(tmp_path)).layers is None


def test_a_mount_table_that_is_gone(tmp_path: Path) -> None:
    assert storage(container({}), [], Host(tmp_path)).merged is None


HOST = Host()


def names(log_path: Path | str) -> list[str]:
    return [log.name for log in log_names(HOST, str(log_path)).names]


def test_current_previous_and_rotated(tmp_path: Path) -> None:
    order = ["0.log", "1.log.20260101-000000.gz", "1.log.20260102-000000", "1.log"]
    for name in order:
        (tmp_path / name).write_text(name)
    (tmp_path / "notes.txt").touch()
    assert names(tmp_path / "1.log") == order
    kinds = {log.name: log.media_type for log in log_names(HOST, str(tmp_path / "1.log")).names}
    assert kinds["1.log.20260101-000000.gz"] == "application/gzip"
    assert kinds["1.log"] == "text/plain"


def test_what_only_has_the_name_of_a_log_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "0.log").touch()
    (tmp_path / "1.log").symlink_to("/etc/passwd")
    (tmp_path / "2.log").mkdir()
    assert names(tmp_path / "0.log") == ["0.log", "1.log", "2.log"]


def test_the_current_log_is_expected_even_if_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "0.log").touch()
    assert names(tmp_path / "1.log") == ["0.log", "1.log"]


def test_a_folder_that_cannot_be_listed() -> None:
    assert names("/no/such/folder/0.log") == ["0.log"]
    assert names("") == []


def test_the_newest_is_last(tmp_path: Path) -> None:
    order = ["9.log.20260101", "9.log.20260102", "9.log", "10.log.20260103.gz", "10.log"]
    for name in order:
        (tmp_path / name).touch()
    assert names(tmp_path / "10.log") == order
    (tmp_path / "odd").touch()
    assert names(tmp_path / "odd") == ["odd", *order]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up a right")
def test_a_folder_that_cannot_be_listed_or_has_too_many_names_may_have_others(
    tmp_path: Path,
) -> None:
    for name in ("0.log", "1.log"):
        (tmp_path / name).touch()
    found = log_names(HOST, str(tmp_path / "1.log"), most=1)
    assert "more than 1 names" in found.unlisted and found.names
    tmp_path.chmod(0o711)
    os.chown(tmp_path, 1234, 1234)
    look = partial(log_names, HOST, str(tmp_path / "1.log"))
    found = without(*READING, action=look)
    assert found.unlisted.endswith("cannot be listed: Permission denied")
    assert [log.name for log in found.names] == ["1.log"]
    assert not log_names(HOST, str(tmp_path / "gone/1.log")).unlisted
