"""The container that the demo's intruder visits, on Docker or as a pod on a private containerd."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.containerd import POD_NAMESPACE, Containerd, running_containerd
from lab.docker import DockerEngine, docker_engine
from lab.images import busybox_rootfs
from lab.process import LabError, in_thread
from lab.tamper import VOLUME

DOCKER, CONTAINERD = "docker", "containerd"
RUNTIMES = {
    DOCKER: "Docker, a private one where none answers,",
    CONTAINERD: "A private containerd",
}
"""The runtimes that the demo knows, as container IDs begin with them, and what is started."""
CONTAINER = "shop"
"""What the container is called in its pod."""
STUBBORN = ("/bin/sleep", "86400")
"""A command that SIGTERM does not end: nothing handles it, and a first process ignores it then."""


@dataclass(frozen=True, slots=True)
class DemoContainer:
    """A running container."""

    engine: DockerEngine | Containerd
    image: str
    id: str
    """As in a pod's status: `docker://...`, `containerd://...`."""
    address: str
    """As a person names it: `docker://NAME`, `containerd://NAMESPACE/POD/NAME`."""
    name: str
    """Of the pod; with Docker of the container, too."""
    container: str
    """Its folder in a bundle."""
    env: dict[str, str]
    """The variable that leads the collector to the runtime."""

    @property
    def bare_id(self) -> str:
        """The ID as the runtime knows it."""
        return self.id.removeprefix(self.scheme)

    @property
    def scheme(self) -> str:
        """How the IDs of its runtime begin in a pod's status: `docker://`."""
        return self.id.partition("://")[0] + "://"

    def another(self, name: str) -> AbstractAsyncContextManager[str]:
        """Run one more of its image for the block, as another pod; it gives the bare ID.

        It takes no notice of SIGTERM, so that its pod has a grace period to speak of.
        """
        if isinstance(self.engine, Containerd):
            return self.engine.container(self.image, STUBBORN, name=CONTAINER, pod=name)
        return self.engine.container(self.image, STUBBORN, name=name)


def runtime_named(text: str) -> str:
    """Return the runtime that somebody asked for. Raises `LabError` if the demo has none such."""
    if text not in RUNTIMES:
        hint = f"Write RUNTIME={' or RUNTIME='.join(RUNTIMES)}"
        raise LabError(f"The demo knows no runtime '{text}'", hint=hint)
    if text == CONTAINERD and os.geteuid() != 0:
        raise LabError("Only root can start a containerd", hint="Be root, or use RUNTIME=docker")
    return text


@asynccontextmanager
async def running_shop(runtime: str, folder: Path) -> AsyncIterator[DemoContainer]:
    """Run the container for the block, on a runtime of `RUNTIMES`. Raises `LabError`."""
    start = _in_a_pod if runtime == CONTAINERD else _on_docker
    volume = folder / "volume"
    volume.mkdir()
    async with start(busybox_rootfs(folder / "rootfs"), volume) as target:
        yield target


@asynccontextmanager
async def _on_docker(rootfs: Path, volume: Path) -> AsyncIterator[DemoContainer]:
    async with docker_engine() as engine:
        image = await engine.import_image(rootfs)
        name = f"shop-{engine.run_id}"
        binds = [f"{volume}:{VOLUME}"]
        async with engine.container(image, name=name, binds=binds) as container:
            scheme = f"{DOCKER}://"
            yield DemoContainer(
                engine, image, scheme + container, scheme + name, name, name, engine.env
            )


@asynccontextmanager
async def _in_a_pod(rootfs: Path, volume: Path) -> AsyncIterator[DemoContainer]:
    async with in_thread(running_containerd()) as engine:
        image = await engine.import_image(rootfs)
        name = f"shop-{engine.run_id}"
        pod = engine.container(image, name=CONTAINER, pod=name, binds={VOLUME: volume})
        async with pod as container:
            scheme = f"{CONTAINERD}://"
            address = f"{scheme}{POD_NAMESPACE}/{name}/{CONTAINER}"
            yield DemoContainer(
                engine, image, scheme + container, address, name, CONTAINER, engine.env
            )
