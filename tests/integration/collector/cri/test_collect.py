"""`forensics collect` on containerd: listed, found by name, refused with a reason, and in a Job."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
import zstandard
from anyio import to_thread

from collector.cri.opening import open_cri
from collector.cri.runtime import CriRuntime
from collector.gaps.inherent import KERNEL, MEMORY
from collector.runtimes.opening import open_runtime
from forensics_core.api.order import ArtifactKind, ContainerTarget, WorkOrder
from forensics_core.bundle.layout import NODE
from forensics_core.bundle.manifest import Capture, Statement
from forensics_core.errors import ContainerGone, ContainerNotFound, UsageError
from forensics_core.operator.attempt.jobs import CAPABILITIES
from lab.containerd import POD_NAMESPACE, Containerd
from lab.docker import DockerEngine
from tests.unit.collector.node.test_kernel_objects import permitted

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd talks to root only")

FORENSICS = str(Path(sys.executable).with_name("forensics"))
CHROOT = "SYS_CHROOT"


@pytest.fixture
async def runtime(containerd: Containerd, use_env: Callable[[Mapping[str, str]], None]) -> Any:
    use_env(containerd.env)
    async with open_cri("containerd") as opened:
        yield opened


def forensics(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FORENSICS, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )


async def test_the_command_lists_pods(containerd: Containerd, cri_image: str) -> None:
    async with containerd.container(cri_image, pod="web-1", name="nginx") as container:
        shown = await to_thread.run_sync(
            lambda: forensics("collect", "containerd://", env=containerd.env)
        )
        endpoint = f"--runtime-endpoint=unix://{containerd.socket}"
        data = await to_thread.run_sync(
            lambda: forensics("collect", "containerd://", endpoint, "-o", "json", env={})
        )
    line = f"containerd://{container}  running   {POD_NAMESPACE}/web-1/nginx  {cri_image}"
    assert line in shown.stdout.splitlines()
    (row,) = (r for r in json.loads(data.stdout)["containers"] if container in r["containerID"])
    assert (row["pod"], row["name"], row["state"]) == (f"{POD_NAMESPACE}/web-1", "nginx", "running")


async def test_a_container_has_many_names(
    containerd: Containerd, cri_image: str, runtime: CriRuntime
) -> None:
    async with (
        containerd.container(cri_image, pod="web-1", name="nginx") as container,
        containerd.container(cri_image, pod="web-2", name="nginx"),
    ):
        for name in (container, container[:20], "web-1/nginx", f"{POD_NAMESPACE}/web-1/nginx"):
            assert (await runtime.find(f"containerd://{name}")).key == container
        with pytest.raises(UsageError, match="'nginx' means 2 containers"):
            await runtime.find("containerd://nginx")
        with pytest.raises(ContainerNotFound, match="web-1/nginx"):
            await runtime.find("containerd://web-1/ngnix")
        with pytest.raises(UsageError, match=r"pod's sandbox.*nginx"):
            await runtime.find(f"containerd://{containerd.pods[container]}")


async def test_a_container_that_goes_between_finding_and_reading(
    containerd: Containerd, cri_image: str, runtime: CriRuntime
) -> None:
    async with containerd.container(cri_image) as container:
        found = await runtime.find(f"containerd://{container}")
    with pytest.raises(ContainerGone):
        await runtime.inspect(found)
    with pytest.raises(ContainerGone):
        async with runtime.layers(found):
            pass
    with pytest.raises(ContainerNotFound):
        await runtime.find(f"containerd://{container}")


async def test_a_container_that_never_ran(
    containerd: Containerd, cri_image: str, runtime: CriRuntime
) -> None:
    container = await containerd.create(cri_image)
    found = await runtime.find(f"containerd://{container}")
    async with runtime.root(found) as root:
        names = await to_thread.run_sync(os.listdir, root)
    await containerd.remove(container)
    assert (found.state, found.pid) == ("created", None) and "srv" in names


@pytest.fixture(params=["docker", "containerd"])
def place(request: pytest.FixtureRequest) -> tuple[str, DockerEngine | Containerd, str]:
    """A runtime's scheme, the lab's engine, and an image."""
    image = {"docker": "image", "containerd": "cri_image"}[request.param]
    engine = request.getfixturevalue(request.param)
    return request.param, engine, request.getfixturevalue(image)


@pytest.fixture
def private_folder(place: tuple[str, DockerEngine | Containerd, str]) -> Path:
    """The engine's folder, which is to be out of sight."""
    engine = place[1]
    if isinstance(engine, Containerd):
        return engine.folder
    if not engine.private:
        pytest.skip("the engine is this machine's, and its folders are not the test's to hide")
    return Path(engine.host.removeprefix("unix://")).parent


KINDS = tuple(
    kind
    for kind in ArtifactKind
    if kind not in {ArtifactKind.CONTEXT, ArtifactKind.VOLUMES, ArtifactKind.MEMORY}
)


async def in_a_job(
    reference: str,
    folder: Path,
    hidden: Path,
    capabilities: Sequence[str] = CAPABILITIES,
    kinds: Sequence[ArtifactKind] = KINDS,
    own_numbers: bool = False,
) -> Capture:
    """Capture with nothing of the node but its /proc: sockets, states and layers are hidden.

    With `own_numbers` the Job has no `hostPID`.
    """
    order = WorkOrder(
        destination=(folder / "evidence").as_uri(),
        bundle="case",
        uid=uuid4(),
        targets=(ContainerTarget(name="web", container_id=reference),),
        artifacts=tuple(kinds),
        layer_seconds=60,
    )
    (folder / "order.json").write_text(order.model_dump_json(by_alias=True))
    done = await to_thread.run_sync(_as_in_a_job, folder, hidden, capabilities, own_numbers)
    assert done.returncode in {0, 4}, done.stdout + done.stderr
    manifest = (folder / "evidence" / "case" / "manifest.json").read_bytes()
    return Statement.from_bytes(manifest).predicate


async def test_a_running_container_in_a_job(
    place: tuple[str, DockerEngine | Containerd, str], private_folder: Path, tmp_path: Path
) -> None:
    scheme, engine, image = place
    async with engine.container(image) as container:
        await engine.exec(container, "echo hello > /tmp/greeting")
        capture = await in_a_job(f"{scheme}://{container}", tmp_path, private_folder)
    assert not capture.partial
    found = {gap.what for gap in capture.not_captured if not gap.what.startswith(NODE)}
    assert found == {MEMORY, KERNEL}
    methods = {artifact.name.split("/")[-1]: artifact.method for artifact in capture.artifacts}
    assert methods["rootfs.tar.zst"] == "tree" and methods["diff.json"] == "overlay-upperdir"
    diff = (tmp_path / "evidence/case/containers/web/diff.json").read_text()
    assert '"/tmp/greeting"' in diff and "processes.json" in methods


@pytest.mark.parametrize(("own_numbers", "how"), [(False, "ptrace"), (True, "pause")])
async def test_memory_in_a_job(
    place: tuple[str, DockerEngine | Containerd, str],
    private_folder: Path,
    tmp_path: Path,
    own_numbers: bool,
    how: str,
) -> None:
    """Where processes have other numbers than on the node, none can be traced."""
    scheme, engine, image = place
    async with engine.container(image) as container:
        capture = await in_a_job(
            f"{scheme}://{container}",
            tmp_path,
            private_folder,
            kinds=[ArtifactKind.MEMORY],
            own_numbers=own_numbers,
        )
    cores = [each for each in capture.artifacts if ".core" in each.name]
    assert cores and {each.method for each in cores} == {how}
    lost = {gap.what: gap.message for gap in capture.not_captured if gap.requested}
    assert lost.keys() == ({"registers"} if own_numbers else set())
    assert not own_numbers or "PID namespace" in lost["registers"]


HIDING = """
    echo loot > /dev/shm/loot; cp /bin/busybox /tmp/sleep
    /tmp/sleep 1000 > /dev/null 2>&1 7>/tmp/f &
    while ! ls -l /proc/[0-9]*/exe | grep -q /tmp/sleep; do sleep 0.1; done
    rm /tmp/sleep /tmp/f
"""


async def test_mounts_and_deleted_files_in_a_job(
    place: tuple[str, DockerEngine | Containerd, str],
    private_folder: Path,
    tmp_path: Path,
    use_env: Callable[[Mapping[str, str]], None],
) -> None:
    scheme, engine, image = place
    use_env(engine.env)
    async with engine.container(image) as container, open_runtime(scheme) as runtime:
        await engine.exec(container, HIDING)
        pid = await runtime.process(await runtime.find(f"{scheme}://{container}"))
        # Shared memory that nobody has attached.
        await anyio.run_process(["nsenter", "-t", str(pid), "-i", "ipcmk", "-M", "5000"])
        capture = await in_a_job(f"{scheme}://{container}", tmp_path, private_folder)
    found = [gap for gap in capture.not_captured if not gap.what.startswith(("logs", NODE))]
    gaps = {gap.what: gap for gap in found}
    assert gaps.keys() == {MEMORY, KERNEL}, gaps
    location = str(tmp_path / "evidence/case")
    shown = await to_thread.run_sync(
        lambda: forensics("cat", location, "web:/dev/shm/loot", env={})
    )
    assert shown.stdout == "loot\n"
    listed = await to_thread.run_sync(
        lambda: forensics("ls", "-R", "-o", "json", location, "web:(deleted)", env={})
    )
    rows = {row["deleted"]["originalPath"]: row for row in json.loads(listed.stdout)["files"]}
    segments = rows.keys() - {"/tmp/sleep", "/tmp/f"}
    assert len(rows) == 3 and rows[segments.pop()]["size"] == 5000
    program = Path("/bin/busybox").read_bytes()
    assert rows["/tmp/sleep"]["sha256"] == hashlib.sha256(program).hexdigest()
    assert {row["layer"] for row in rows.values()} == {"deleted"}


@pytest.mark.parametrize(
    ("lacking", "method"), [({CHROOT}, {"engine-export", None}), (set(), {"tree"})]
)
async def test_a_stopped_container_in_a_job(
    lacking: set[str],
    method: set[str | None],
    place: tuple[str, DockerEngine | Containerd, str],
    private_folder: Path,
    tmp_path: Path,
) -> None:
    """Merging its layers takes entering the runtime's mount namespace."""
    scheme, engine, image = place
    async with engine.container(image) as container:
        await engine.exec(container, "echo hello > /tmp/greeting")
        await engine.stop(container)
        capabilities = [one for one in CAPABILITIES if one not in lacking]
        reference = f"{scheme}://{container}"
        capture = await in_a_job(reference, tmp_path, private_folder, capabilities)
    methods = {artifact.name.split("/")[-1]: artifact.method for artifact in capture.artifacts}
    assert methods.get("rootfs.tar.zst") in method
    gaps = {gap.what: gap.reason for gap in capture.not_captured}
    assert not lacking or gaps.keys() & {"filesystem", "details of the file system"}
    assert methods["diff.json"] == "overlay-upperdir"


def _as_in_a_job(
    folder: Path, hidden: Path, capabilities: Sequence[str], own_numbers: bool
) -> subprocess.CompletedProcess[str]:
    proc, end = folder / "host-proc", folder / "termination-log"
    proc.mkdir()
    bounded = "".join(f",+{name.lower()}" for name in capabilities)
    script = (
        f"mount --make-rprivate / && mount --bind /proc {proc} && mount -t tmpfs none {hidden} && "
        f"{'mount -t proc none /proc' if own_numbers else 'true'} && "
        f'exec setpriv --bounding-set "-all{bounded}" --inh-caps "-all" -- "$@"'
    )
    # Named, for this machine may have several; which of its processes has it is found out.
    socket = next(path for path in hidden.iterdir() if path.name in {"docker.sock", "cd.sock"})
    apart = ["--pid", "--fork", "--kill-child"] if own_numbers else []
    unshare = ["unshare", "--mount", *apart, "--", "sh", "-ec", script, "sh"]
    wanted = ("PATH", "HOME", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    env = {name: os.environ[name] for name in wanted if name in os.environ}
    env |= {"FORENSICS_RUNTIME_ENDPOINT": f"unix://{socket}", "FORENSICS_HOST_PROC": str(proc)}
    env["FORENSICS_TERMINATION_LOG"] = str(end)
    return subprocess.run(
        [*unshare, FORENSICS, "collect", "--order", str(folder / "order.json")],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )


def has(folder: Path, name: str) -> Any:
    return json.loads((folder / "evidence/case/node" / name).read_bytes())


QUEUE = """
import ctypes
libc = ctypes.CDLL(None)
queue = libc.mq_open(b"/hidden", 0o102, 0o600, None)
assert not libc.mq_send(queue, b"an order", 8, 3)
"""


@pytest.mark.skipif(not permitted(), reason="this kernel shows us none of its memory")
async def test_a_message_in_a_posix_queue_in_a_job(
    place: tuple[str, DockerEngine | Containerd, str], private_folder: Path, tmp_path: Path
) -> None:
    """It is read in the kernel's memory, for which a Job's capabilities are enough."""
    scheme, engine, image = place
    async with engine.container(image) as container:
        pid = str(await engine.pid(container))
        put = ["nsenter", "--target", pid, "--ipc", sys.executable, "-c", QUEUE]
        await to_thread.run_sync(partial(subprocess.run, put, check=True))
        capture = await in_a_job(f"{scheme}://{container}", tmp_path, private_folder)
    assert not any(gap.what.startswith("message queue") for gap in capture.not_captured)
    packed = (tmp_path / "evidence/case/containers/web/deleted.tar.zst").read_bytes()
    plain = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        (name,) = (name for name in tar.getnames() if "/mqueue/" in name)
        message = tar.extractfile(name)
        assert message and message.read() == b"an order"


async def test_what_the_node_tells_in_a_job(
    place: tuple[str, DockerEngine | Containerd, str], private_folder: Path, tmp_path: Path
) -> None:
    """With a Job's capabilities: what takes more is a gap, and never makes the capture a partial
    one."""
    scheme, engine, image = place
    async with engine.container(image) as container:
        capture = await in_a_job(f"{scheme}://{container}", tmp_path, private_folder)
    gaps = {gap.what: gap for gap in capture.not_captured if gap.what.startswith(NODE)}
    assert not capture.partial and not any(gap.requested for gap in gaps.values())
    refused = {what for what, gap in gaps.items() if gap.reason == "NotPermitted"}
    assert "node/firewall.json, nftables' tables" in refused
    (network,) = has(tmp_path, "network.json")["namespaces"]
    assert network["routes"] is not None and network["host"] == (scheme == "containerd")
    assert {row["protocol"] for row in network["sockets"]} or scheme == "docker"
    (tracked,) = has(tmp_path, "conntrack.json")["namespaces"]
    assert tracked["source"] in {"proc", "none"}
    assert has(tmp_path, "ebpf.json")["programs"] is not None
    assert has(tmp_path, "kernel.json")["commandLine"]
    events = has(tmp_path, "runtime.json")["events"]
    if scheme == "containerd":
        assert events is None and gaps["node/runtime.json, events"].reason == "NotSupported"
    else:
        assert {row["Action"] for row in events["rows"]} >= {"create", "start"}
