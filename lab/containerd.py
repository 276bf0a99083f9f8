"""A private containerd with its CRI plugin, and pods on it, made as a kubelet makes them.

Pods use the node's network, so that no CNI plugin is needed. Everything lies in one temporary
folder and is removed at the end::

    with running_containerd() as engine:
        image = await engine.import_image(rootfs)
        async with engine.container(image) as container:
            await engine.exec(container, "echo hello > /tmp/greeting")
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread
from google.protobuf.message import Message

from collector.cri._proto import runtime_pb2 as cri
from collector.cri.channel import open_channel
from forensics_core.errors import ContainerGone, ForensicsError
from lab.containerd_layouts import ContainerdLayout, in_folder
from lab.cri import make_pb2 as make
from lab.dockerd import SYSTEM_PATH, kill_remains, unmount_below
from lab.engine import FOREVER, ContainerEngine
from lab.images import busybox_rootfs
from lab.process import LabError, daemon, wait_until_ready

NAMESPACE = "k8s.io"
PAUSE = "lab.local/pause:1"
POD_NAMESPACE = "shop"
HOST_NETWORK = 2

Answer = TypeVar("Answer", bound=Message)

_CONFIG = """version = 2
root = "{layout.root}"
state = "{layout.state}"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{layout.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
"""


@dataclass(frozen=True, slots=True)
class Containerd(ContainerEngine):
    """A containerd that answers. It is tied to no event loop: each call opens a connection."""

    folder: Path
    run_id: str
    """Also in every image, so that a script can tell whether it runs in a container."""
    socket: Path
    """Where it listens."""
    pods: dict[str, str] = field(default_factory=dict)
    """The pod of each container made here."""

    @property
    def env(self) -> dict[str, str]:
        """The variables that lead the collector, and `ctr`, here."""
        return {
            "FORENSICS_RUNTIME_ENDPOINT": f"unix://{self.socket}",
            "CONTAINERD_ADDRESS": str(self.socket),
        }

    async def import_image(self, *layers: Path, name: str = "") -> str:
        """Make an image out of folders, the lowest layer first, and return its name."""
        name = name or f"lab.local/{self.run_id}:{secrets.token_hex(4)}"
        archive = self.folder / f"{secrets.token_hex(4)}.tar"
        await to_thread.run_sync(write_image, archive, layers, name, self.run_id)
        command = ["images", "import", str(archive)]
        await self.ctr(*command)
        archive.unlink()
        return name

    async def ctr(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> str:
        """Run containerd's own command in the namespace of the pods; return its output."""
        command = ["ctr", "--address", str(self.socket), "--namespace", NAMESPACE, *arguments]
        env = {"PATH": SYSTEM_PATH}
        done = await anyio.run_process(command, check=False, env=env, stdin=stdin)
        if done.returncode:
            raise LabError(f"ctr failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode()

    async def create(
        self,
        image: str,
        command: Sequence[str] = FOREVER,
        *,
        name: str = "app",
        pod: str = "",
        tty: bool = False,
        binds: Mapping[str, Path] | None = None,
        capabilities: Sequence[str] = (),
    ) -> str:
        """Make a pod with one container in it, and return the container's ID.

        `capabilities` are added to the runtime's default ones, without `CAP_`.
        """
        config = self._pod_config(pod or f"web-{secrets.token_hex(3)}")
        made = await self._runtime("RunPodSandbox", make.RunPodRequest(config=config), make.PodId)
        mounts = [
            make.Mount(container_path=inside, host_path=str(outside))
            for inside, outside in (binds or {}).items()
        ]
        wanted = make.ContainerConfig(
            metadata=make.ContainerMetadata(name=name),
            image=make.ImageSpec(image=image),
            command=command,
            mounts=mounts,
            log_path=f"{name}/0.log",
            tty=tty,
            linux=make.LinuxContainer(
                security_context=make.ContainerSecurity(
                    capabilities=make.Capability(add_capabilities=capabilities),
                    namespace_options=make.NamespaceOption(network=HOST_NETWORK, pid=1),
                )
            ),
        )
        request = make.CreateRequest(
            pod_sandbox_id=made.pod_sandbox_id, config=wanted, sandbox_config=config
        )
        created = await self._runtime("CreateContainer", request, make.ContainerId)
        self.pods[created.container_id] = made.pod_sandbox_id
        return created.container_id

    def _pod_config(self, pod: str) -> make.PodConfig:
        return make.PodConfig(
            metadata=make.Metadata(name=pod, uid=secrets.token_hex(8), namespace=POD_NAMESPACE),
            log_directory=str(self.folder / "logs" / pod),
            labels={"io.kubernetes.pod.name": pod, "io.kubernetes.pod.namespace": POD_NAMESPACE},
            linux=make.LinuxPod(
                security_context=make.SandboxSecurity(
                    namespace_options=make.NamespaceOption(network=HOST_NETWORK)
                )
            ),
        )

    async def start(self, container: str) -> None:
        """Start a container."""
        await self._runtime(
            "StartContainer", make.ContainerId(container_id=container), make.Nothing
        )

    async def stop(self, container: str) -> None:
        """Stop a container: SIGTERM, and SIGKILL after 5 s."""
        request = make.ContainerId(container_id=container, timeout=5)
        await self._runtime("StopContainer", request, make.Nothing)

    async def remove(self, container: str) -> None:
        """Remove a container and its pod, whatever its state; gone is fine too."""
        pod = make.PodId(pod_sandbox_id=self.pods.pop(container))
        for method in ("StopPodSandbox", "RemovePodSandbox"):
            try:
                await self._runtime(method, pod, make.Nothing)
            except ContainerGone:
                return

    async def pid(self, container: str) -> int:
        """Return the process ID, on this machine, of a running container's first process."""
        return int(json.loads((await self.status(container)).info["info"])["pid"])

    async def state(self, container: str) -> cri.ContainerState:
        """Return whether it runs."""
        return (await self.status(container)).status.state

    async def status(self, container: str) -> cri.ContainerStatusResponse:
        """Return what the runtime says of a container."""
        request = cri.ContainerStatusRequest(container_id=container, verbose=True)
        return await self._runtime("ContainerStatus", request, cri.ContainerStatusResponse)

    async def exec(self, container: str, script: str) -> str:
        """Run a shell script in a container; return its output. Raises `LabError` if it fails."""
        guard = f'[ "$(cat /.lab)" = {self.run_id} ] || {{ echo "not in the container"; exit 97; }}'
        request = make.ExecRequest(
            container_id=container, cmd=["/bin/sh", "-ec", f"{guard}\n{script}"], timeout=30
        )
        done = await self._runtime("ExecSync", request, make.ExecResponse)
        if done.exit_code:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise LabError(f"The script ended with {done.exit_code}: {said}")
        return done.stdout.decode(errors="replace")

    async def exec_detached(self, container: str, *command: str, tty: bool = True) -> str:
        """Begin an exec session that goes on, with a terminal of its own; return its ID."""
        session = f"session-{secrets.token_hex(4)}"
        options = ["--detach", "--exec-id", session, *(["--tty"] if tty else [])]
        ours, theirs = os.openpty()  # ctr gives terminals only to who has one
        try:
            await self.ctr("tasks", "exec", *options, container, *command, stdin=theirs)
        finally:
            os.close(ours)
            os.close(theirs)
        return session

    async def _runtime(self, method: str, request: Message, answer: type[Answer]) -> Answer:
        async with open_channel(str(self.socket)) as channel:
            return await channel.call(f"runtime.v1.RuntimeService/{method}", request, answer)

    async def clean_up(self) -> None:
        """Remove every pod that is left."""
        for container in [*self.pods]:
            await self.remove(container)


@contextmanager
def running_containerd(
    snapshotter: str = "overlayfs", layout: ContainerdLayout | None = None
) -> Iterator[Containerd]:
    """Run a private containerd for the block. Root only. Raises `LabError`.

    With a `layout` it has its files where another distribution has them, in a mount namespace.
    """
    binary = shutil.which("containerd", path=SYSTEM_PATH)
    if binary is None:
        raise LabError("containerd is not installed", hint="Run lab/install.sh as root")
    folder = Path(tempfile.mkdtemp(prefix="lab-cd-"))
    place = layout or in_folder(folder)
    content = _CONFIG.format(folder=folder, pause=PAUSE, snapshotter=snapshotter, layout=place)
    command = place.command(binary, folder, content)
    try:
        with daemon(command, folder / "log", env={"PATH": SYSTEM_PATH}, grace=30) as process:
            socket = Path(f"/proc/{process.pid}/root{place.socket}" if layout else place.socket)
            engine = Containerd(folder, secrets.token_hex(4), socket)
            wait_until_ready("containerd", lambda: _answers(engine), process, folder / "log")
            anyio.run(_import_pause, engine)
            try:
                yield engine
            finally:
                anyio.run(engine.clean_up)
    finally:
        kill_remains(folder)
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


async def _import_pause(engine: Containerd) -> None:
    """Make the image of the process that holds a pod's namespaces."""
    rootfs = await to_thread.run_sync(busybox_rootfs, engine.folder / "pause")
    command = ["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 1; done"]
    await to_thread.run_sync(
        write_image, engine.folder / "pause.tar", [rootfs], PAUSE, "pause", command
    )
    await engine.ctr("images", "import", str(engine.folder / "pause.tar"))


def _answers(engine: Containerd) -> bool:
    async def ask() -> bool:
        async with open_channel(str(engine.socket)) as channel:
            method, request = "runtime.v1.RuntimeService/Version", cri.VersionRequest()
            try:
                await channel.call(method, request, cri.VersionResponse, seconds=2)
            except ForensicsError:
                return False
            return True

    return engine.socket.exists() and anyio.run(ask)


def write_image(
    archive: Path,
    layers: Sequence[Path],
    name: str,
    mark: str,
    command: Sequence[str] = FOREVER,
) -> None:
    """Write an archive as `docker save` makes them."""
    packed = [_pack(layer, mark if not number else "") for number, layer in enumerate(layers)]
    config = {
        "architecture": _architecture(),
        "os": "linux",
        "config": {"Cmd": [*command]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{sha256(layer).hexdigest()}" for layer in packed],
        },
    }
    names = [f"{number}.tar" for number in range(len(packed))]
    listing = [{"Config": "config.json", "RepoTags": [name], "Layers": names}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "manifest.json", json.dumps(listing).encode())
        _add(tar, "config.json", json.dumps(config).encode())
        for member, layer in zip(names, packed, strict=True):
            _add(tar, member, layer)


def _architecture() -> str:
    done = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True)
    machine = done.stdout.strip()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _pack(layer: Path, mark: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(layer, arcname=".", filter=_owned_by_root)
        if mark:
            _add(tar, "./.lab", mark.encode())
    return buffer.getvalue()


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
