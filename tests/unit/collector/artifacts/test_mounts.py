"""What goes wrong while mounts are read is in the manifest, and costs the file system nothing."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import anyio
import pytest

from collector.artifacts import mounts
from collector.artifacts.mountopening import LIMITS, MountLimits, open_all, open_wanted
from collector.artifacts.mounts import store
from collector.container import ContainerCapture
from collector.documents import BoundedNames
from collector.files.mountarchive import OpenMount
from collector.files.mounted import Survey
from collector.files.mountplan import MountOutcome, State, plan
from collector.files.mountstream import MountStream
from collector.files.safe_open import opened
from collector.files.volumes import VolumeSelection
from collector.files.withheld import MAX_FILE
from collector.node.host import Host
from collector.runtimes.declared import Declared
from collector.runtimes.runtime import ContainerInfo, Runtime, Unavailable
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import BundleWriter
from forensics_core.errors import UsageError
from forensics_core.storage.storage import open_destination
from tests.integration.collector.folder_container import CONTAINER, FolderRuntime
from tests.integration.collector.stuck import stuck


class LocalRuntime(FolderRuntime):
    """A folder as a container in which nothing runs."""

    machine = Host()

    async def process(self, _: ContainerInfo) -> int:
        raise Unavailable("The container is exited", reason="NotRunning")


class FailingRuntime(LocalRuntime):
    """One that fails where the container's state is asked for, once."""

    def __init__(self, folder: Path, error: Exception) -> None:
        super().__init__(folder)
        self._errors = [error]

    async def inspect(self, container: ContainerInfo) -> ContainerInfo:
        if self._errors:
            raise self._errors.pop()
        return container


async def scene_of(folder: Path, to: Path, seconds: float = 60) -> ContainerCapture:
    runtime = cast(Runtime, LocalRuntime(folder))
    async with open_destination(str(to)) as destination:
        bundle = BundleWriter(destination)
        deadline = anyio.current_time() + seconds
        return ContainerCapture("web", CONTAINER, runtime, bundle, Compression.ZSTD, deadline)


@pytest.mark.parametrize(
    ("error", "reason", "told"),
    [
        (Unavailable("It hangs", reason="Hung"), "Hung", "read: It hangs"),
        (OSError("odd"), "Unreadable", "read: odd"),
        (IndexError("odd"), "Unreadable", "read: IndexError: odd"),
    ],
)
async def test_a_failure_is_a_gap_and_the_file_system_is_captured(
    tmp_path: Path, error: Exception, reason: str, told: str
) -> None:
    capture = await scene_of(tmp_path, tmp_path / "bundle")
    capture.runtime = cast(Runtime, FailingRuntime(tmp_path, error))
    capture.wanted = frozenset({ArtifactKind.PROCESSES, ArtifactKind.FILESYSTEM})
    await mounts.collect(capture)
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason, gap.requested) == ("mounts", reason, True)
    assert told in gap.message
    assert any(each.name.endswith("rootfs.tar.zst") for each in capture.bundle.artifacts)
    capture.runtime = cast(Runtime, FailingRuntime(tmp_path, UsageError("No such destination")))
    with pytest.raises(UsageError):
        await mounts.collect(capture)


def test_what_cannot_be_opened_is_missing(tmp_path: Path) -> None:
    (tmp_path / "hosts").touch()
    told = [
        Declared("/etc/hosts", "bind", str(tmp_path / "hosts")),
        Declared("/etc/hostname", "bind", str(tmp_path / "gone")),
        Declared("/etc/resolv.conf", "bind", str(tmp_path / "hosts")),
    ]
    planned = plan(Survey(), told, "exited")
    with ExitStack() as stack:
        wanted = planned[:2][::-1] + planned[2:]
        tops = open_all(stack, wanted, Host(), frozenset(), 1, 1)
        assert [top.path for _, top in tops] == [b"/etc/hosts"]
    assert [each.outcome.reason for each in planned] == ["", "Unreadable", "TooMany"]
    planned = plan(Survey(), told[:1], "exited")
    with ExitStack() as stack:
        assert open_all(stack, planned, None, frozenset(), 1, 1) == []
    assert "not in reach" in planned[0].outcome.message


async def test_sockets_and_what_changes_are_said(tmp_path: Path) -> None:
    (tmp_path / "shm").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "shm/s"))
    capture = await scene_of(tmp_path, tmp_path / "bundle")
    place = os.open(tmp_path / "shm", os.O_PATH)
    archive = MountStream(changed=BoundedNames(["/shm/x"], 1))
    assert await store(capture, archive, [OpenMount(b"/shm", place)])
    os.close(place)
    (gap,) = capture.bundle.not_captured
    assert gap.what == "sockets in mounts" and not gap.requested
    flags = {flag for each in capture.bundle.artifacts for flag in each.flags}
    assert flags == {Flag.CHANGED_WHILE_READ}


async def test_what_there_was_no_time_for_is_partial(tmp_path: Path) -> None:
    (tmp_path / "hosts").touch()
    told = [Declared("/etc/hosts", "bind", str(tmp_path / "hosts"))]
    (each,) = plan(Survey(), told, "exited")
    capture = await scene_of(tmp_path, tmp_path / "bundle", seconds=-1)
    archive = MountStream()
    place = os.open(tmp_path / "hosts", os.O_PATH)
    whole = await store(capture, archive, [OpenMount(b"/etc/hosts", place, single=True)])
    os.close(place)
    assert not whole
    mounts._judge(each, archive, whole)
    assert (each.state, each.outcome.reason) == (State.PARTIAL, "Deadline")


async def test_tables_that_were_not_read_are_said(tmp_path: Path) -> None:
    capture = await scene_of(tmp_path, tmp_path / "bundle")
    mounts._account(capture, Survey(unseen=3), [], LIMITS)
    (gap,) = capture.bundle.not_captured
    assert gap.what == "mounts, of some processes" and "3 processes" in gap.message


async def test_a_volume_that_does_not_answer_when_it_is_opened_is_missing(tmp_path: Path) -> None:
    told = [Declared("/etc/hosts", "bind", "/h"), Declared("/data", "bind", str(tmp_path))]
    planned = plan(Survey(), told, "exited", selection=VolumeSelection(every=True))
    limits = MountLimits(seconds=0, volume_seconds=0)
    with ExitStack() as stack:
        await open_wanted(stack, planned[1:], Host(), frozenset(), limits)
        assert (planned[1].state, planned[1].outcome.reason) == (State.MISSING, "Hung")
        with pytest.raises(Unavailable):
            await open_wanted(stack, planned[:1], Host(), frozenset(), limits)


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_volume_of_secrets_that_is_not_listed_whole_says_so(
    hangs: bool, tmp_path: Path
) -> None:
    source = "/pods/1/volumes/kubernetes.io~secret/token"
    told = [Declared("/token", "bind", source)]
    (each,) = plan(Survey(), told, "exited", selection=VolumeSelection(every=True))
    assert each.state is State.LISTED
    capture = await scene_of(tmp_path, tmp_path / "bundle")
    volume = tmp_path / "volume"
    volume.mkdir()
    with ExitStack() as stack:
        if hangs:
            stack.enter_context(stuck(volume, beside="early"))
        else:
            (volume / "early").write_text("secret")
            with (volume / "other").open("wb") as file:
                file.truncate(MAX_FILE + 1)
        place = stack.enter_context(opened(os.open(volume, os.O_PATH)))
        tops = [(each, OpenMount(b"/token", place, volume=True))]
        await mounts._list_withheld(capture, tops, MountLimits(seconds=0.5 if hangs else 60))
    expected = (State.MISSING, "Hung") if hangs else (State.LISTED, "Withheld")
    assert (each.state, each.outcome.reason) == expected
    assert ("Not all of it was read: files of" in each.outcome.message) != hangs
    assert each.files and {row["path"] for row in each.files} >= {"/token", "/token/early"}


@pytest.mark.parametrize(
    ("state", "reason"), [(State.LISTED, "Withheld"), (State.MISSING, "Unreadable")]
)
async def test_why_there_is_no_archive_of_volumes_is_said(
    state: State, reason: str, tmp_path: Path
) -> None:
    capture = await scene_of(tmp_path, tmp_path / "bundle")
    told = [Declared("/data", "bind", str(tmp_path))]
    (each,) = plan(Survey(), told, "exited", selection=VolumeSelection(every=True))
    each.outcome = MountOutcome(state)
    mounts._account_volumes(capture, [each])
    (gap,) = capture.bundle.not_captured
    assert (gap.what, gap.reason, gap.requested) == ("volumes", reason, reason == "Unreadable")
