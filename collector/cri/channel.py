"""One gRPC connection to a container runtime, over a Unix socket.

async with open_channel("/run/containerd/containerd.sock") as channel:
    said = await channel.call("runtime.v1.RuntimeService/Version", request, VersionResponse)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import anyio
from google.protobuf.message import Message
from grpclib import client
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from forensics_core.errors import ContainerGone, RuntimeUnavailable, SourceError

TIMEOUT = 30.0
"""Seconds that a runtime may take for one answer."""

Answer = TypeVar("Answer", bound=Message)

_BROKEN = (OSError, ProtocolError, StreamTerminatedError, AttributeError)
"""How grpclib says that there is no connection; by the last one where it ends as it is made, which
is so at a socket whose queue is full."""


class Unimplemented(RuntimeUnavailable):
    """The runtime does not know the method: it speaks another version of the interface."""


class GrpcChannel:
    """A connection that is opened with the first call, and again after it broke."""

    def __init__(self, channel: client.Channel, where: str) -> None:
        self._channel = channel
        self.where = where
        """The socket, for people."""

    async def call(
        self,
        method: str,
        request: Message,
        answer: type[Answer],
        *,
        namespace: str = "",
        seconds: float = TIMEOUT,
    ) -> Answer:
        """Call `package.Service/Method` and return its answer.

        `namespace` is containerd's. Raises `RuntimeUnavailable` where nothing answers, its
        `Unimplemented` where the method is unknown, `ContainerGone` where the object is, and
        `SourceError` for every other refusal.
        """
        invoke: client.UnaryUnaryMethod[Message, Answer] = client.UnaryUnaryMethod(
            self._channel, f"/{method}", type(request), answer
        )
        metadata = {"containerd-namespace": namespace} if namespace else None
        try:
            with anyio.fail_after(seconds), _uncancelled():
                return await invoke(request, metadata=metadata)
        except GRPCError as error:
            raise self._refusal(error, method) from error
        except TimeoutError as error:
            raise self._silent(f"said nothing for {seconds:g} s") from error
        except _BROKEN as error:
            raise self._silent(
                f"cannot be reached: {str(error) or type(error).__name__}"
            ) from error

    def _silent(self, what: str) -> RuntimeUnavailable:
        return RuntimeUnavailable(
            f"The container runtime at {self.where} {what}",
            hint="See whether it runs, and whether this user may talk to it",
        )

    def _refusal(self, error: GRPCError, method: str) -> Exception:
        said = f"The container runtime at {self.where} says: {error.message or error.status.name}"
        if error.status is Status.NOT_FOUND:
            return ContainerGone(said, hint="It was removed; what was read of it is kept")
        if error.status is Status.UNIMPLEMENTED:
            return Unimplemented(
                f"The container runtime at {self.where} does not know {method}",
                hint="Version 1 of the CRI is needed: containerd 1.6, CRI-O 1.23, or later",
            )
        if error.status in {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED}:
            return RuntimeUnavailable(said, hint="See its log, then capture again")
        return SourceError(said, hint="See its log, then capture again")


@contextmanager
def _uncancelled() -> Iterator[None]:
    """Take back the cancellation with which grpclib interrupts us where the connection breaks.

    It cancels the task and raises an error of its own instead; left so, every cancel scope around
    would take the task for cancelled.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except _BROKEN:
        while task and task.cancelling() > before:
            task.uncancel()
        raise


@asynccontextmanager
async def open_channel(path: str, where: str = "") -> AsyncIterator[GrpcChannel]:
    """Connect to the Unix socket at `path`; messages name it `where`."""
    channel = client.Channel(path=path)
    try:
        yield GrpcChannel(channel, where or path)
    finally:
        channel.close()
