"""Runtimes that are absent, refuse, hang, or speak something else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from collector.cri._proto import runtime_pb2 as cri
from collector.cri.channel import Unimplemented, open_channel
from collector.cri.opening import open_cri
from collector.runtimes.runtime import Unavailable
from forensics_core.errors import ContainerGone, ContainerNotFound, RuntimeUnavailable, SourceError

VERSION = "runtime.v1.RuntimeService/Version"
Answers = dict[str, Any]


class Runtime:
    """A runtime that gives the same answer each time, or fails with it."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def __mapping__(self) -> dict[str, Handler]:
        return {f"/{method}": self._handler(answer) for method, answer in self._answers.items()}

    def _handler(self, answer: Any) -> Handler:
        async def serve(stream: Stream[Any, Any]) -> None:
            await stream.recv_message()
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                await anyio.sleep_forever()
            await stream.send_message(answer)

        return Handler(serve, Cardinality.UNARY_UNARY, cri.VersionRequest, type(answer))


@asynccontextmanager
async def running(path: Path, answers: Answers) -> AsyncIterator[str]:
    server = Server([Runtime(answers)])
    await server.start(path=str(path))
    try:
        yield str(path)
    finally:
        server.close()
        await server.wait_closed()


async def ask(path: str, seconds: float = 5) -> cri.VersionResponse:
    async with open_channel(path) as channel:
        return await channel.call(
            VERSION, cri.VersionRequest(), cri.VersionResponse, seconds=seconds
        )


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (Status.NOT_FOUND, ContainerGone),
        (Status.UNIMPLEMENTED, Unimplemented),
        (Status.UNAVAILABLE, RuntimeUnavailable),
        (Status.DEADLINE_EXCEEDED, RuntimeUnavailable),
        (Status.INTERNAL, SourceError),
    ],
)
async def test_refusals(status: Status, raised: type[Exception], tmp_path: Path) -> None:
    async with running(tmp_path / "s", {VERSION: GRPCError(status, "why")}) as path:
        with pytest.raises(raised, match=r"s (says: why|does not know)"):
            await ask(path)


async def test_one_that_hangs(tmp_path: Path) -> None:
    async with running(tmp_path / "s", {VERSION: None}) as path:
        with pytest.raises(RuntimeUnavailable, match=r"said nothing for 0\.1 s"):
            await ask(path, 0.1)


async def test_one_that_accepts_and_says_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(RuntimeUnavailable, match="said nothing"):
            await ask(str(tmp_path / "s"), 0.1)


async def test_one_whose_queue_is_full(tmp_path: Path) -> None:
    """The kernel says at once that nobody takes the connection; that is no connection."""
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as waiting:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        with pytest.raises(BlockingIOError):
            for _ in range(100):
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(tmp_path / "s"))
        with pytest.raises(RuntimeUnavailable, match="cannot be reached"):
            await ask(str(tmp_path / "s"))


async def test_one_that_hangs_up(tmp_path: Path) -> None:
    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_unix_server(hang_up, str(tmp_path / "s"))
    async with server:
        with anyio.CancelScope() as scope:
            with pytest.raises(RuntimeUnavailable, match="cannot be reached"):
                await ask(str(tmp_path / "s"))
            await anyio.lowlevel.checkpoint()
    assert not scope.cancelled_caught


async def test_nobody_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(RuntimeUnavailable, match="cannot be reached"):
            await ask(str(tmp_path / name))


def version(name: str) -> cri.VersionResponse:
    return cri.VersionResponse(runtime_name=name, runtime_version="1.2.3")


Naming = Callable[[str], None]


@pytest.fixture
def name_endpoint(monkeypatch: pytest.MonkeyPatch) -> Naming:
    return lambda path: monkeypatch.setenv("FORENSICS_RUNTIME_ENDPOINT", f"unix://{path}")


async def test_the_wrong_runtime(tmp_path: Path, name_endpoint: Naming) -> None:
    async with running(tmp_path / "s", {VERSION: version("cri-o")}) as path:
        name_endpoint(path)
        with pytest.raises(RuntimeUnavailable, match=r"is cri-o, not containerd.*cri-o://ID"):
            async with open_cri("containerd"):
                pass


async def test_one_of_an_older_interface(tmp_path: Path, name_endpoint: Naming) -> None:
    unknown = GRPCError(Status.UNIMPLEMENTED, "unknown service runtime.v1.RuntimeService")
    async with running(tmp_path / "s", {VERSION: unknown}) as path:
        name_endpoint(path)
        with pytest.raises(RuntimeUnavailable, match=r"does not know.*Version 1 of the CRI"):
            async with open_cri("cri-o"):
                pass


async def test_a_socket_that_is_not_there(name_endpoint: Naming) -> None:
    name_endpoint("/no/such/socket")
    with pytest.raises(RuntimeUnavailable, match="No containerd answers"):
        async with open_cri("containerd"):
            pass


SERVICE = "runtime.v1.RuntimeService"


async def test_cri_o(tmp_path: Path, name_endpoint: Naming) -> None:
    """It has no services beside the CRI, and its verbose answer may be garbage."""
    rows = cri.ListContainersResponse(
        containers=[
            cri.Container(
                id="abc123", pod_sandbox_id="p1", metadata=cri.ContainerMetadata(name="web")
            )
        ]
    )
    pods = cri.ListPodSandboxResponse(
        items=[
            cri.PodSandbox(
                id="p1", metadata=cri.PodSandboxMetadata(name="shop-1", namespace="shop")
            )
        ]
    )
    status = cri.ContainerStatusResponse(
        status=cri.ContainerStatus(
            id="abc123",
            metadata=cri.ContainerMetadata(name="web"),
            state=cri.CONTAINER_RUNNING,
            log_path=str(tmp_path / "0.log"),
        ),
        info={"info": "{garbage", "other": "[1]"},
    )
    answers = {
        VERSION: version("cri-o"),
        f"{SERVICE}/ListContainers": rows,
        f"{SERVICE}/ListPodSandbox": pods,
        f"{SERVICE}/ContainerStatus": status,
        "runtime.v1.ImageService/ImageStatus": cri.ImageStatusResponse(),
    }
    async with running(tmp_path / "s", answers) as path:
        name_endpoint(path)
        async with open_cri("cri-o") as runtime:
            assert await runtime.version() == "cri-o 1.2.3"
            found = await runtime.find("cri-o://shop/shop-1/web")
            assert (found.state, found.pid, found.log_streams) == ("running", None, ())
            assert b'"{garbage"' in found.document
            with pytest.raises(ContainerGone, match="no image"):
                await runtime.image(found)
            with pytest.raises(Unavailable, match="does not list them"):
                await runtime.runtime_processes(found)
            for act in (runtime.pause, runtime.resume):
                with pytest.raises(Exception, match="no way to pause"):
                    await act(found)
            with pytest.raises(Exception, match="not an overlay whose layers"):
                async with runtime.layers(found):
                    pass
            with pytest.raises(ContainerNotFound, match=r"It has shop/shop-1/web"):
                await runtime.find("cri-o://none")
