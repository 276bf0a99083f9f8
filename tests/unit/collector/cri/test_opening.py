"""Which of several sockets is the runtime: each is asked, and what it said is told."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from collector.cri._proto import runtime_pb2 as cri
from collector.cri.opening import OtherRuntime, open_cri
from collector.job.termination_message import of_error
from collector.node.procfs import HOST_PROC
from collector.runtimes.endpoints import ENDPOINT, Endpoint
from collector.runtimes.search import FINDING, RuntimeFinder
from forensics_core.errors import ContainerNotFound, RuntimeNotFound, RuntimeUnavailable
from tests.unit.collector.cri.test_channel import SERVICE, VERSION, Answers, running, version

NO_CRI = {VERSION: GRPCError(Status.UNIMPLEMENTED, "unknown service")}


@pytest.fixture(autouse=True)
def nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)


def found(*rounds: list[Path], **more: float) -> RuntimeFinder:
    """Find these paths, one list after the other, whatever else listens on this machine."""
    left = list(rounds)

    def look(_: str) -> list[Endpoint]:
        return [Endpoint(str(path)) for path in (left.pop(0) if len(left) > 1 else left[0])]

    return RuntimeFinder(look, **more)


def knowing(*containers: str) -> Answers:
    """Return the answers of a CRI-O that has these containers."""
    rows = [
        cri.Container(id=each, pod_sandbox_id="p", metadata=cri.ContainerMetadata(name=each))
        for each in containers
    ]
    status = cri.ContainerStatus(id=containers[0], metadata=cri.ContainerMetadata(name="x"))
    return {
        VERSION: version("cri-o"),
        f"{SERVICE}/ListContainers": cri.ListContainersResponse(containers=rows),
        f"{SERVICE}/ListPodSandbox": cri.ListPodSandboxResponse(),
        f"{SERVICE}/ContainerStatus": cri.ContainerStatusResponse(status=status),
    }


@contextmanager
def silent(path: Path) -> Iterator[Path]:
    """Accept connections, and never say a word."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


def dead(path: Path) -> Path:
    """Leave a socket's file behind at which nobody listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


@asynccontextmanager
async def opened(container: str, finding: RuntimeFinder = FINDING) -> AsyncIterator[str]:
    async with open_cri("cri-o", f"cri-o://{container}", finding) as runtime:
        yield (await runtime.find(f"cri-o://{container}")).key


async def test_whatever_else_is_there_the_one_that_knows_the_container_is_opened(
    tmp_path: Path,
) -> None:
    broken = {**knowing("x"), f"{SERVICE}/ListContainers": GRPCError(Status.INTERNAL, "broken")}
    async with (
        running(tmp_path / "docker", NO_CRI),
        running(tmp_path / "cd", {VERSION: version("containerd")}),
        running(tmp_path / "broken", broken),
        running(tmp_path / "other", knowing("other")),
        running(tmp_path / "right", knowing("mine")),
    ):
        with silent(tmp_path / "hung"):
            names = ["none", "docker", "cd", "hung", "broken", "other", "right"]
            places = [dead(tmp_path / "dead"), *(tmp_path / name for name in names)]
            finding = found(places, seconds=5)
            async with opened("mine", finding) as key:
                assert key == "mine"


async def test_why_each_was_not_it_is_told(
    tmp_path: Path,
) -> None:
    async with (
        running(tmp_path / "docker", NO_CRI),
        running(tmp_path / "cd", {VERSION: version("containerd")}),
    ):
        with silent(tmp_path / "hung"):
            names = ["none", "docker", "cd", "hung"]
            finding = found([tmp_path / name for name in names], seconds=5)
            with pytest.raises(RuntimeUnavailable) as caught:
                async with opened("mine", finding):
                    pass
    said = str(caught.value)
    assert not isinstance(caught.value, RuntimeNotFound), "one of them may answer later"
    assert f"{tmp_path}/none cannot be opened: No such file" in said
    assert f"{tmp_path}/docker does not know" in said
    assert f"{tmp_path}/cd is containerd, not cri-o" in said
    assert f"{tmp_path}/hung said nothing for 5 s" in said


async def test_where_none_of_them_ever_will_be_it_nothing_is_tried_again(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "docker", NO_CRI),
        running(tmp_path / "cd", {VERSION: version("containerd")}),
    ):
        finding = found([tmp_path / "docker", tmp_path / "cd"])
        with pytest.raises(RuntimeNotFound, match=r"docker does not know.*is containerd") as caught:
            async with opened("mine", finding):
                pass
    assert b'"retry":false' in of_error(caught.value)


async def test_an_abstract_socket_is_told() -> None:
    finding = found([Path("@containerd")])
    with pytest.raises(RuntimeNotFound, match="@containerd cannot be opened: it is abstract"):
        async with opened("mine", finding):
            pass


async def test_a_container_that_none_knows_may_be_of_the_one_that_does_not_answer(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "other", knowing("other")):
        finding = found([tmp_path / "other", dead(tmp_path / "dead")])
        with pytest.raises(RuntimeUnavailable, match=r"No cri-o that knows.*It has /other"):
            async with opened("mine", finding):
                pass


async def test_a_container_that_is_unknown_to_all_of_them(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "docker", NO_CRI),
        running(tmp_path / "other", knowing("other")),
    ):
        finding = found([tmp_path / "docker", tmp_path / "other"])
        with pytest.raises(ContainerNotFound, match="It has /other"):
            async with opened("mine", finding):
                pass


@pytest.mark.parametrize("before", ["nothing", "dead", "another"])
async def test_a_job_waits_for_a_runtime_that_restarts(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOST_PROC, "/proc")
    first = {
        "nothing": [],
        "dead": [dead(tmp_path / "dead")],
        "another": [tmp_path / "docker"],
    }[before]
    async with running(tmp_path / "docker", NO_CRI), running(tmp_path / "up", knowing("mine")):
        finding = found(first, [*first, tmp_path / "up"])
        async with opened("mine", finding) as key:
            assert key == "mine"


async def test_a_job_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOST_PROC, "/proc")
    finding = found([], restarting=0.1)
    with pytest.raises(RuntimeNotFound, match="No cri-o runs here: no process of it listens"):
        async with opened("mine", finding):
            pass


async def test_another_runtime_at_the_socket_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, f"unix://{tmp_path}/cd")
    async with running(tmp_path / "cd", {VERSION: version("containerd")}):
        with pytest.raises(RuntimeNotFound, match="is containerd, not cri-o") as caught:
            async with opened("mine"):
                pass
    assert not isinstance(caught.value, OtherRuntime), "the message has what was tried"
