"""Which Docker Engine: of several, the one that knows the container."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from anyio import to_thread

from collector.cri.opening import open_cri
from collector.docker.opening import open_engine
from collector.node.procfs import HOST_PROC
from collector.runtimes.endpoints import ENDPOINT, Endpoint, look
from collector.runtimes.opening import open_runtime
from collector.runtimes.search import RuntimeFinder
from forensics_core.errors import ContainerNotFound, RuntimeNotFound, RuntimeUnavailable
from lab.docker import DockerEngine, running_own_engine
from lab.images import busybox_rootfs

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ENDPOINT, "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def another() -> Iterator[DockerEngine]:
    with running_own_engine() as engine:
        yield engine


@pytest.fixture
def only() -> list[Endpoint]:
    """All engines that are found, whatever else runs on this machine."""
    return []


def among(places: list[Endpoint], **more: float) -> RuntimeFinder:
    return RuntimeFinder(lambda _: list(places), **more)


def silent(stack: ExitStack, path: Path, *, listening: bool) -> Endpoint:
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    if listening:
        listener.listen()
    return Endpoint(str(path))


@pytest.mark.parametrize("in_job", [False, True])
async def test_of_several_the_one_that_knows_the_container_is_opened(
    in_job: bool,
    docker: DockerEngine,
    image: str,
    another: DockerEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if in_job:
        monkeypatch.setenv(HOST_PROC, "/proc")
    rootfs = busybox_rootfs(Path(another.host.removeprefix("unix://")).parent / f"r{in_job}")
    other_image = await another.import_image(rootfs)
    for engine, name in ((docker, image), (another, other_image)):
        async with engine.container(name) as container:
            reference = f"docker://{container}"
            async with open_runtime("docker", reference) as runtime:
                assert (await runtime.find(reference)).key == container
                assert runtime.machine is not None


async def test_sockets_that_do_not_answer_do_not_stand_in_the_way(
    docker: DockerEngine, image: str, only: list[Endpoint], tmp_path: Path
) -> None:
    here = Endpoint(docker.host.removeprefix("unix://"))
    with ExitStack() as stack:
        only += [silent(stack, tmp_path / "dead", listening=False), Endpoint("/no/such"), here]
        async with docker.container(image) as container:
            reference = f"docker://{container}"
            async with open_engine(reference, among(only)) as runtime:
                assert (await runtime.find(reference)).key == container
            async with open_engine("", among(only)) as runtime:
                assert await runtime.list()


async def test_why_each_was_not_it_is_told(only: list[Endpoint], tmp_path: Path) -> None:
    with ExitStack() as stack:
        only += [
            silent(stack, tmp_path / "dead", listening=False),
            silent(stack, tmp_path / "hung", listening=True),
            Endpoint("@docker"),
        ]
        with pytest.raises(RuntimeUnavailable) as caught:
            async with open_engine("docker://x", among(only, seconds=0.2)):
                pass
    said = str(caught.value)
    assert f"No Docker Engine runs at unix://{tmp_path}/dead" in said
    assert f"{tmp_path}/hung said nothing for 0.2 s" in said
    assert "unix://@docker does not answer" in said and "abstract" in said


async def test_a_container_that_none_knows(docker: DockerEngine, only: list[Endpoint]) -> None:
    only += [Endpoint(docker.host.removeprefix("unix://"))] * 2
    async with open_engine("docker://nobody", among(only)) as runtime:
        with pytest.raises(ContainerNotFound):
            await runtime.find("docker://nobody")


async def test_no_engine_at_all_in_a_job(
    only: list[Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOST_PROC, "/proc")
    assert not only
    with pytest.raises(RuntimeNotFound, match="No docker runs here"):
        async with open_engine("docker://x", among(only, restarting=0.1)):
            pass


def test_what_an_engine_needs_for_itself_is_no_candidate(another: DockerEngine) -> None:
    folder = str(Path(another.host.removeprefix("unix://")).parent)
    mine = [each.socket for each in look("dockerd") if each.socket.startswith(folder)]
    assert mine == [another.host.removeprefix("unix://")]


async def test_the_containerd_of_an_engine_speaks_no_cri(another: DockerEngine) -> None:
    """Docker's own, alone on a machine: no further attempt finds another."""
    folder = str(Path(another.host.removeprefix("unix://")).parent)
    found = await to_thread.run_sync(look, "containerd")
    own = [each for each in found if each.socket.startswith(folder)]
    assert own, "it is found, and asked"
    with pytest.raises(RuntimeNotFound, match="does not know runtime"):
        async with open_cri("containerd", "containerd://x", among(own)):
            pass
