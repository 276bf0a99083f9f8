"""Which containerd: found as the kernel says, and the one that knows the container."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collector.cri.opening import open_cri
from collector.runtimes.endpoints import ENDPOINT
from collector.runtimes.endpoints import look as _look
from forensics_core.errors import ContainerNotFound, RuntimeUnavailable
from lab.containerd import Containerd, running_containerd

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


async def test_a_socket_that_was_removed_is_told(
    another: Containerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "collector.cri.opening.look",
        lambda *_: [each for each in _look("containerd") if each.socket == str(another.socket)],
    )
    moved = another.socket.with_name("moved")
    another.socket.rename(moved)
    try:
        with pytest.raises(RuntimeUnavailable, match=r"cd\.sock cannot be opened: No such"):
            async with open_cri("containerd", "containerd://x"):
                pass
    finally:
        moved.rename(another.socket)
