"""What is mounted in a real container is in the bundle, or the manifest names it."""

from __future__ import annotations

import os
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from collector.artifacts import mounts
from collector.artifacts.kinds import KINDS
from collector.artifacts.mountopening import MountLimits
from collector.capture import CaptureResult, bundle_url, capture
from collector.docker.runtime import DockerRuntime
from collector.local import CaptureOptions, capture_container, make_order
from collector.runtimes.opening import open_runtime
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.content import find_file
from forensics_core.bundle.files import open_index
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.reader import open_bundle
from forensics_core.errors import ForensicsError, UsageError
from forensics_core.storage.storage import open_destination
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.mounting import (
    FORENSICS,
    forensics,
    gap,
    mounts_archive,
    run,
    table,
    text_of,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

FILES = [ArtifactKind.FILESYSTEM]


async def collect(
    bundle: Bundle, container: str, kinds: list[ArtifactKind] | None = None
) -> tuple[CaptureResult, str]:
    """Capture into `bundle`; return what came of it, and the container's name in it."""
    options = CaptureOptions(kinds or FILES, name=bundle.folder.name, subpath="", layer_seconds=60)
    result = await capture_container(
        f"docker://{container}", to=str(bundle.folder.parent), options=options
    )
    return result, bundle.capture.containers[0].name


async def collect_within(
    bundle: Bundle,
    container: str,
    limits: MountLimits,
    kinds: list[ArtifactKind] | None = None,
) -> tuple[CaptureResult, str]:
    """The same within limits of the test's own."""
    options = CaptureOptions(kinds or FILES, name=bundle.folder.name, subpath="", layer_seconds=60)
    collects = {
        ArtifactKind.FILESYSTEM: mounts.collect,
        ArtifactKind.VOLUMES: mounts.collect_volumes,
    }
    within = {
        kind: replace(KINDS[kind], collect=partial(collect, limits=limits))
        for kind, collect in collects.items()
    }
    to = str(bundle.folder.parent)
    async with open_runtime("docker", f"docker://{container}") as runtime:
        order = await make_order(runtime, [f"docker://{container}"], to, options)
        async with open_destination(bundle_url(order)) as destination:
            result = await capture(order, runtime, destination, kinds=KINDS | within)
    return result, bundle.capture.containers[0].name


async def test_files_that_the_runtime_mounts_are_captured_as_the_container_sees_them(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        await docker.exec(container, "echo 6.6.6.6 update.example >> /etc/hosts")
        result, name = await collect(bundle, container)
    assert not result.partial and bundle.capture.not_captured == ()
    shown = await forensics("cat", str(bundle.folder), f"{name}:/etc/hosts")
    assert shown.returncode == 0 and shown.stdout.endswith("6.6.6.6 update.example\n")
    hostname = await forensics("cat", str(bundle.folder), f"{name}:/etc/hostname")
    assert hostname.stdout == f"{container[:12]}\n"
    listed = await forensics("ls", str(bundle.folder), f"{name}:/etc")
    (line,) = (
        line for line in listed.stdout.splitlines() if line.endswith(" hosts  [from mounts]")
    )
    assert int(line.split()[3]) == len(shown.stdout)
    whole = await forensics("verify", str(bundle.folder))
    assert whole.returncode == 0


async def test_file_systems_in_memory_are_captured(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = """
        echo loot > /dev/shm/loot; mkdir -p /cache/a/b; echo deep > /cache/a/b/c
        ln /cache/a/b/c /cache/again; ln -s /etc/passwd /cache/link; mkfifo /cache/pipe
        chmod 4750 /cache/a/b/c; chown 1000:1001 /cache/a
    """
    async with docker.container(image, tmpfs={"/cache": ""}) as container:
        await docker.exec(container, script)
        result, name = await collect(bundle, container)
    assert not result.partial and bundle.capture.not_captured == ()
    with mounts_archive(bundle, name) as archive:
        content = archive.extractfile("./dev/shm/loot")
        assert content and content.read() == b"loot\n"
        deep = archive.getmember("./cache/a/b/c")
        again = archive.getmember("./cache/again")
        assert deep.mode == 0o4750 and {deep.type, again.type} == {tarfile.LNKTYPE, tarfile.REGTYPE}
        folder = archive.getmember("./cache/a")
        assert (folder.uid, folder.gid) == (1000, 1001)
        assert archive.getmember("./cache/link").linkname == "/etc/passwd"
        assert archive.getmember("./cache/pipe").isfifo()
    for path in ("/cache/again", "/cache/a/b/c"):
        assert await text_of(bundle, name, path) == "deep\n"


async def test_each_volume_is_a_gap_and_readers_say_so(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/secret").write_text("not asked for")
    binds = [f"{tmp_path}/host:/srv"]
    async with docker.container(image, binds=binds, Volumes={"/data": {}}) as container:
        await docker.exec(container, "echo inside > /data/inside")
        result, name = await collect(bundle, container)
    assert not result.partial
    assert set(bundle.gaps()) == {"mount /srv", "mount /data"}
    found = gap(bundle, "mount /srv")
    assert (found.path, found.container, found.requested) == ("/srv", name, False)
    assert found.type and found.source and found.source.endswith(f"[{tmp_path}/host]")
    location = str(bundle.folder)
    for command, path in (("cat", "/srv/secret"), ("ls", "/srv"), ("ls", "/srv/secret")):
        shown = await forensics(command, location, f"{name}:{path}")
        assert shown.returncode == 1 and shown.stdout == ""
        assert f"'/srv' is a mount ({found.type}) that was not captured" in shown.stderr
    above = await forensics("ls", location, f"{name}:/")
    assert f"srv  ['/srv' is a mount ({found.type}) that was not captured]" in above.stdout
    async with open_bundle(location) as opened:
        index = await open_index(opened, name)
        with pytest.raises(ForensicsError, match="not captured"):
            await find_file(index, b"/data/inside")
        rows = {row.path: row async for row in index.rows()}
    assert rows[b"/data"].hidden and b"/data/inside" not in rows


VOLUMES = [*FILES, ArtifactKind.VOLUMES]


async def test_volumes_that_were_asked_for_come_home(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "host/sub").mkdir(parents=True)
    (tmp_path / "host/sub/loot").write_text("loot")
    (tmp_path / "one").write_text("single")
    binds = [f"{tmp_path}/host:/srv", f"{tmp_path}/host/sub:/again", f"{tmp_path}/one:/etc/one"]
    async with docker.container(image, binds=binds, Volumes={"/data": {}}) as container:
        await docker.exec(container, "echo inside > /data/inside; truncate -s 3G /data/sparse")
        result, name = await collect(bundle, container, VOLUMES)
    assert not result.partial and bundle.gaps() == {}
    rows = table(bundle, name)
    assert rows["/data"]["volume"]["sort"] == "volume" and rows["/srv"]["volume"]["sort"] == "bind"
    assert {rows[path]["state"] for path in ("/data", "/srv", "/again", "/etc/one")} == {"captured"}
    location = str(bundle.folder)
    for path, content in (
        ("/data/inside", "inside\n"),
        ("/srv/sub/loot", "loot"),
        ("/again/loot", "loot"),  # mounted twice, archived once
        ("/etc/one", "single"),
    ):
        assert await text_of(bundle, name, path) == content
    listed = await forensics("ls", location, f"{name}:/data/sparse")
    assert " 3221225472 " in listed.stdout
    (archive,) = (a for a in bundle.capture.artifacts if a.name.endswith("mounts.tar.zst"))
    assert archive.kind is ArtifactKind.VOLUMES and archive.original_size < 1024**2
    assert (await forensics("verify", location)).returncode == 0


async def test_volumes_without_the_file_system(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, Volumes={"/data": {}}) as container:
        await docker.exec(container, "echo inside > /data/inside")
        result, name = await collect(bundle, container, [ArtifactKind.VOLUMES])
    assert not result.partial and bundle.gaps() == {}
    with mounts_archive(bundle, name) as archive:
        assert "./data/inside" in archive.getnames()
    assert {each.kind for each in bundle.capture.artifacts[1:]} == {ArtifactKind.VOLUMES}


async def test_volumes_of_a_container_that_has_none(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        result, _ = await collect(bundle, container, VOLUMES)
    assert not result.partial and bundle.gaps() == {"volumes": "NoVolume"}


async def test_one_volume_that_was_named_comes_home_and_others_do_not(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    options = CaptureOptions(
        FILES, name=bundle.folder.name, subpath="", volumes=["/data", "nowhere"]
    )
    async with docker.container(image, Volumes={"/data": {}, "/other": {}}) as container:
        await docker.exec(container, "echo inside > /data/inside")
        to = str(bundle.folder.parent)
        result = await capture_container(f"docker://{container}", to=to, options=options)
    name = bundle.capture.containers[0].name
    assert bundle.gaps() == {"mount /other": "NotRequested", "volume nowhere": "NotFound"}
    assert result.partial  # for the one that is nowhere
    assert await text_of(bundle, name, "/data/inside") == "inside\n"


async def test_a_name_of_a_volume_goes_with_files_or_volumes_only(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    options = CaptureOptions([ArtifactKind.PROCESSES], volumes=["/data"])
    async with docker.container(image) as container:
        with pytest.raises(UsageError, match="Volumes are named"):
            to = str(bundle.folder.parent)
            await capture_container(f"docker://{container}", to=to, options=options)


async def test_a_volume_that_does_not_fit_makes_a_capture_partial(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, Volumes={"/data": {}}) as container:
        await docker.exec(container, "head -c 9000 /dev/urandom > /data/large; echo 1 > /data/a")
        limits = MountLimits(volumes=(5000, 100))
        result, name = await collect_within(bundle, container, limits, VOLUMES)
    found = gap(bundle, "mount /data")
    assert (found.reason, found.size, found.requested) == ("TooLarge", 9000, True)
    assert result.partial and table(bundle, name)["/data"]["state"] == "partial"
    assert await text_of(bundle, name, "/data/a") == "1\n"


async def test_volumes_of_an_ended_container(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    command = ("/bin/sh", "-c", "echo kept > /data/kept")
    container = await docker.run(image, command, Volumes={"/data": {}})
    await docker.wait(container)
    result, name = await collect(bundle, container, VOLUMES)
    await docker.remove(container)
    assert not result.partial and bundle.gaps() == {}
    assert await text_of(bundle, name, "/data/kept") == "kept\n"


async def test_a_mount_that_the_container_made_over_a_directory(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = """
        mkdir /evil; echo fake > /evil/passwd; mount -t tmpfs none /var; echo x > /var/x
        mount --bind /evil /usr; touch /r; mount --bind /var/x /r
    """
    async with docker.container(image, capabilities=["SYS_ADMIN"]) as container:
        await docker.exec(container, script)
        result, name = await collect(bundle, container)
    assert not result.partial and set(bundle.gaps()) == {"mount /usr"}
    assert gap(bundle, "mount /usr").reason == "MountedTwice"
    assert "./usr" in bundle.tar(name).getnames() and "./evil/passwd" in bundle.tar(name).getnames()
    shown = await forensics("cat", str(bundle.folder), f"{name}:/usr/passwd")
    assert shown.returncode == 1 and "the same files are at '/evil/passwd'" in shown.stderr
    for path in ("/var/x", "/r"):
        assert await text_of(bundle, name, path) == "x\n"


async def test_a_tmpfs_under_a_tmpfs_and_one_over_a_masked_path(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = """
        mkdir /t/in; mount -t tmpfs none /t/in; echo 1 > /t/in/one; echo 2 > /t/two
        mount -t tmpfs none /proc/sys; echo 3 > /proc/sys/three
    """
    options = {"capabilities": ["SYS_ADMIN"], "tmpfs": {"/t": ""}}
    async with docker.container(image, **options) as container:  # type: ignore[arg-type]
        await docker.exec(container, script)
        _, name = await collect(bundle, container)
    # The runtime's own mount of /proc/sys lies beneath, and is a view of the kernel.
    assert bundle.gaps() == {}
    for path, content in (("/t/in/one", "1"), ("/t/two", "2"), ("/proc/sys/three", "3")):
        assert await text_of(bundle, name, path) == f"{content}\n"
    listed = await forensics("ls", str(bundle.folder), f"{name}:/t")
    assert [line.split()[6] for line in listed.stdout.splitlines()] == ["in", "two"]


async def test_mounts_that_others_cover_are_captured_apart(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = """
        echo 1 > /t/lowest; mount -t tmpfs none /t; echo 2 > /t/lower; mount -t tmpfs none /t
        echo 3 > /t/seen; mkdir -p /a/b; mount -t tmpfs none /a/b; echo 4 > /a/b/deep
        mount -t tmpfs none /a; cat /proc/self/mountinfo > /before
    """
    options = {"capabilities": ["SYS_ADMIN"], "tmpfs": {"/t": ""}}
    async with docker.container(image, **options) as container:  # type: ignore[arg-type]
        await docker.exec(container, script)
        _, name = await collect(bundle, container)
        # Nothing was unmounted in the container itself.
        await docker.exec(container, "cat /proc/self/mountinfo | cmp - /before; test -e /t/seen")
    assert bundle.gaps() == {}
    for path, content in {
        "/t/seen": "3",
        "/t (covered)/lowest": "1",
        "/t (covered 2)/lower": "2",
        "/a/b (covered)/deep": "4",
    }.items():
        assert await text_of(bundle, name, path) == f"{content}\n", path


async def test_what_mounts_within_a_mount_cover_is_captured_apart(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = """
        mkdir /t/in /t/in/deep /t/stub; echo 1 > /t/in/deep/one; echo 2 > /t/two; touch /t/empty
        mount -t tmpfs none /t/in; echo 3 > /t/in/seen; mount -t tmpfs none /t/stub
        mount --bind /t/in/seen /t/two; mount --bind /t/in/seen /t/empty
    """
    options = {"capabilities": ["SYS_ADMIN"], "tmpfs": {"/t": ""}}
    async with docker.container(image, **options) as container:  # type: ignore[arg-type]
        await docker.exec(container, script)
        _, name = await collect(bundle, container)
    assert bundle.gaps() == {}
    covered = {"/t/in (covered)/deep/one": "1", "/t/two (covered)": "2"}
    for path, content in {**covered, "/t/in/seen": "3", "/t/two": "3"}.items():
        assert await text_of(bundle, name, path) == f"{content}\n"
    names = mounts_archive(bundle, name).getnames()
    assert {each for each in names if "covered" in each} == {
        "./t/in (covered)",
        "./t/in (covered)/deep",
        "./t/in (covered)/deep/one",
        "./t/two (covered)",
    }


async def test_what_is_covered_is_told_where_it_cannot_be_seen(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    """A Job without `SYS_ADMIN` may not look beneath."""
    script = "mkdir /t/in; echo 1 > /t/in/one; echo 2 > /t/two; mount -t tmpfs none /t/in"
    options = {"capabilities": ["SYS_ADMIN"], "tmpfs": {"/t": ""}}
    async with docker.container(image, **options) as container:  # type: ignore[arg-type]
        await docker.exec(container, script)
        without = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
        to = ("--to", str(bundle.folder.parent), "--subpath", "", "--name", bundle.folder.name)
        asked = ("--artifact", "filesystem", f"docker://{container}")
        done = await run(*without, FORENSICS, "collect", *to, *asked)
        assert done.returncode in {0, 4}, done.stderr
    name = bundle.capture.containers[0].name
    assert "another mount covers it. Missing: /t/in" in gap(bundle, "mount /t").message
    assert await text_of(bundle, name, "/t/two") == "2\n"


async def test_message_queues_that_a_mount_covers_are_a_gap(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, capabilities=["SYS_ADMIN"]) as container:
        await docker.exec(container, "touch /dev/mqueue/one; mount -t tmpfs none /dev/mqueue")
        await collect(bundle, container)
    assert gap(bundle, "message queue one").path == "/one"


UNMOUNTED = """
    mkdir /x; mount -t tmpfs none /x; mkdir -p /x/in/deep; echo secret > /x/secret
    sh -c 'cd /x/in/deep; {}; umount -l /x; touch /ready; exec sleep 1000' \
        > /dev/null 2>&1 &
    while ! [ -e /ready ]; do sleep 0.1; done
"""


async def test_a_file_system_that_was_unmounted_while_in_use_is_captured(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, capabilities=["SYS_ADMIN"]) as container:
        await docker.exec(container, UNMOUNTED.format("exec 3< /x/secret"))
        _, name = await collect(bundle, container)
    assert bundle.gaps() == {}
    top = await forensics("ls", str(bundle.folder), f"{name}:/")
    assert " (kept) " in top.stdout
    (pid,) = (await forensics("ls", str(bundle.folder), f"{name}:/(kept)")).stdout.split()[6:7]
    listed = await forensics("ls", str(bundle.folder), f"{name}:/(kept)/{pid}/cwd")
    assert [line.split()[6] for line in listed.stdout.splitlines()] == ["in", "secret"]
    assert await text_of(bundle, name, f"/(kept)/{pid}/cwd/secret") == "secret\n"


async def test_a_file_is_all_that_is_in_sight_of_a_file_system_that_was_unmounted(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, capabilities=["SYS_ADMIN"]) as container:
        await docker.exec(container, UNMOUNTED.format("exec 3< /x/secret; cd /"))
        _, name = await collect(bundle, container)
    ((what, found),) = bundle.gaps().items()
    assert found == "NotVisible" and what.startswith("mount /(kept)/") and what.endswith("/fd/3")
    path = what.removeprefix("mount ")
    assert await text_of(bundle, name, path) == "secret\n"


async def test_a_file_system_that_was_unmounted_is_a_gap_where_no_files_are_asked_for(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, capabilities=["SYS_ADMIN"]) as container:
        await docker.exec(container, UNMOUNTED.format("true"))
        await collect(bundle, container, [ArtifactKind.PROCESSES])
    (found,) = (each for each in bundle.capture.not_captured if each.what.startswith("file system"))
    assert (found.reason, found.requested) == ("NotVisible", False) and found.pid


async def test_message_queues_are_a_gap(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        await docker.exec(container, "touch /dev/mqueue/one /dev/mqueue/two")
        _, name = await collect(bundle, container)
    assert "2 POSIX message queues" in gap(bundle, "mount /dev/mqueue").message
    shown = await forensics("ls", str(bundle.folder), f"{name}:/dev/mqueue")
    assert shown.returncode == 1 and "(mqueue) that was not captured" in shown.stderr


async def test_a_file_system_that_only_one_process_sees_is_captured_beneath_it(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = """
        unshare -m sh -c 'mount -t tmpfs none /srv; echo x > /srv/x; touch /ready; sleep 1000' \
            > /dev/null 2>&1 &
        while ! [ -e /ready ]; do sleep 0.1; done
    """
    async with docker.container(image, capabilities=["SYS_ADMIN"]) as container:
        await docker.exec(container, script)
        _, name = await collect(bundle, container)
    assert bundle.gaps() == {}
    (pid,) = (await forensics("ls", str(bundle.folder), f"{name}:/(kept)")).stdout.split()[6:7]
    assert await text_of(bundle, name, f"/(kept)/{pid}/root/srv/x") == "x\n"
    # All others see the directory beneath.
    assert (await forensics("ls", str(bundle.folder), f"{name}:/srv")).returncode == 0


async def test_what_does_not_fit_is_cut_and_said(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image, tmpfs={"/cache": ""}) as container:
        await docker.exec(
            container, "head -c 9000 /dev/urandom > /cache/large; echo 1 > /cache/small"
        )
        result, name = await collect_within(bundle, container, MountLimits(memory=(5000, 100)))
    found = gap(bundle, "mount /cache")
    assert (found.reason, found.size, found.requested) == ("TooLarge", 9000, False)
    assert "/cache/large" in found.message and not result.partial
    (archive,) = (a for a in bundle.capture.artifacts if a.name.endswith("mounts.tar.zst"))
    assert Flag.TRUNCATED in archive.flags
    assert await text_of(bundle, name, "/cache/small") == "1\n"
    missing = await forensics("cat", str(bundle.folder), f"{name}:/cache/large")
    assert missing.returncode == 1 and "the archive was cut" in missing.stderr


async def test_very_many_mounts_are_listed_to_a_limit(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    script = "mkdir /many; for i in 1 2 3 4 5 6; do mkdir /many/$i; mount -t tmpfs x /many/$i; done"
    async with docker.container(image, capabilities=["SYS_ADMIN"]) as container:
        await docker.exec(container, script)
        _, name = await collect_within(bundle, container, MountLimits(gaps=2, tops=4))
    listed = [each.what for each in bundle.capture.not_captured if each.what.startswith("mount ")]
    assert len(listed) == 2
    assert "further mounts" in gap(bundle, "mounts, the rest").message
    assert table(bundle, name)["/many/6"]["state"] in {"captured", "missing"}


async def test_an_ended_container_keeps_the_files_of_its_runtime(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    options = {"tmpfs": {"/cache": ""}, "Volumes": {"/data": {}}}
    command = ("/bin/sh", "-c", "echo 6.6.6.6 evil >> /etc/hosts; echo 1 > /cache/gone")
    container = await docker.run(image, command, **options)
    await docker.wait(container)
    _, name = await collect(bundle, container)
    await docker.remove(container)
    assert bundle.gaps() == {"mount /cache": "Gone", "mount /data": "NotSupported"}
    assert (await text_of(bundle, name, "/etc/hosts")).endswith("6.6.6.6 evil\n")
    gone = await forensics("ls", str(bundle.folder), f"{name}:/cache")
    assert gone.returncode == 1 and "(tmpfs) that was not captured" in gone.stderr
