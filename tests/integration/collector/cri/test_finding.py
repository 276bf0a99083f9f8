"""Which containerd: found as the kernel says, and the one that knows the container."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anyio import to_thread

from collector.cri.opening import open_cri
from collector.local import CaptureOptions, capture_container
from collector.node.procfs import HOST_PROC
from collector.runtimes.endpoints import ENDPOINT, look
from collector.runtimes.search import RuntimeFinder
from forensics_core.errors import ContainerNotFound, RuntimeUnavailable
from lab.containerd import Containerd, running_containerd
from lab.containerd_layouts import K0S, K3S, MICROK8S, RKE2, ContainerdLayout
from lab.images import busybox_rootfs
from lab.process import in_thread
from tests.integration.collector.conftest import Bundle

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)


@pytest.fixture(scope="module")
def another() -> Iterator[Containerd]:
    with running_containerd() as engine:
        yield engine


async def test_of_several_the_one_that_knows_the_container_is_opened(
    containerd: Containerd, cri_image: str, another: Containerd
) -> None:
    async with containerd.container(cri_image) as container:
        reference = f"containerd://{container}"
        async with open_cri("containerd", reference) as runtime:
            assert (await runtime.find(reference)).key == container


async def test_a_container_that_none_of_them_knows(
    containerd: Containerd, another: Containerd
) -> None:
    async with open_cri("containerd", "containerd://nobody") as runtime:
        with pytest.raises(ContainerNotFound):
            await runtime.find("containerd://nobody")


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(K3S, id="k3s"),
        pytest.param(RKE2, id="RKE2"),
        pytest.param(MICROK8S, id="MicroK8s"),
        pytest.param(K0S, id="k0s"),
    ],
)
async def test_a_container_of_another_distribution_is_captured_in_a_job(
    layout: ContainerdLayout,
    containerd: Containerd,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside another containerd, in whose mount namespace there are no such paths."""
    monkeypatch.setenv(HOST_PROC, "/proc")
    rootfs = await to_thread.run_sync(busybox_rootfs, bundle.folder.parent / "rootfs")
    async with in_thread(running_containerd(layout=layout)) as engine:
        image = await engine.import_image(rootfs)
        script = ["/bin/sh", "-c", "echo said; echo hello > /greeting; exec sleep 1000"]
        async with engine.container(image, script) as container:
            await engine.exec(container, "while [ ! -s /greeting ]; do sleep 0.1; done")
            options = CaptureOptions(name=bundle.folder.name, subpath="", layer_seconds=60)
            to = bundle.folder.parent.as_uri()
            await capture_container(f"containerd://{container}", to=to, options=options)
    assert not bundle.gaps()
    (name,) = (each.name for each in bundle.capture.containers)
    assert "./greeting" in bundle.tar(name).getnames()
    assert "greeting" in (bundle.folder / f"containers/{name}/diff.json").read_text()
    assert any("/logs/" in each for each in bundle.names())


async def test_a_socket_that_was_removed_is_told(another: Containerd) -> None:
    finding = RuntimeFinder(
        lambda name: [each for each in look(name) if each.socket == str(another.socket)]
    )
    moved = another.socket.with_name("moved")
    another.socket.rename(moved)
    try:
        with pytest.raises(RuntimeUnavailable, match=r"cd\.sock cannot be opened: No such"):
            async with open_cri("containerd", "containerd://x", finding):
                pass
    finally:
        moved.rename(another.socket)
