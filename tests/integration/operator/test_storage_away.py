"""A store that is away for a while, at the beginning and at the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from forensics_core.bundle.verify import verify
from forensics_loopback import RunningPod
from lab.faults import Misbehaviour, StoreFault
from lab.sink import StoreSink
from tests.integration.operator.stage import NAMESPACE, Stage, timed


class Way:
    """A way to the store that can be closed: whoever takes it then is hung up on."""

    def __init__(self, to: str) -> None:
        self._to = urlsplit(to)
        self.open = True
        self.endpoint = ""
        self.stored = 0
        """Objects that were on their way."""
        self.on_store: Callable[[], None] = lambda: None
        """Called before each of them goes on."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let clients through for the block."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra_attributes[SocketAttribute.local_port]()
        self.endpoint = f"http://127.0.0.1:{port}"
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, self._serve)
            yield
            tasks.cancel_scope.cancel()

    async def _serve(self, client: SocketStream) -> None:
        if not self.open:
            await client.aclose()
            return
        host, port = self._to.hostname or "", self._to.port or 0
        async with (
            client,
            await anyio.connect_tcp(host, port) as server,
            anyio.create_task_group() as pumps,
        ):
            pumps.start_soon(self._pump, client, server, self._count)
            await self._pump(server, client, lambda _: None)
            pumps.cancel_scope.cancel()

    def _count(self, block: bytes) -> None:
        if block.startswith(b"PUT "):
            self.stored += 1
            self.on_store()

    async def _pump(
        self, source: SocketStream, sink: SocketStream, look: Callable[[bytes], None]
    ) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while self.open:
                block = await source.receive()
                look(block)
                await sink.send(block)


async def test_a_destination_that_never_answers_does_not_hold_up_the_others(
    stage: Stage, sink: StoreSink
) -> None:
    """More checkpoints than there are workers go to where nobody answers."""
    sink.faults.add(StoreFault(Misbehaviour.HANG, "PutObject", times=None))
    deaf = stage.settings.destinations[0].model_copy(
        update={"prefix": "s3://deaf", "operator_endpoint": sink.endpoint}
    )
    rules = (*stage.settings.destinations, deaf)
    settings = timed(stage, store_timeout=3).model_copy(
        update={"destinations": rules, "workers": 2}
    )
    many = 12
    for number in range(many):
        stage.request(f"deaf-{number}", destination="s3://deaf")
    async with stage.operating(settings):
        await stage.until(lambda item: item.get("status", {}).get("phase"), f"deaf-{many - 1}")
        with anyio.fail_after(20):
            await stage.cluster.until(
                "events", lambda all_: [one for one in all_ if ASKED in json.dumps(one)], NAMESPACE
            )
        asked = sink.count("PutObject")
        stage.request()
        status = await stage.finished()
    assert status["phase"] == "Complete"
    waiting = [stage.get(f"deaf-{number}")["status"] for number in range(many)]
    assert {status["phase"] for status in waiting} <= {"Capturing", "Pending"}
    assert asked < many * 8, "each has more files of context than that"


ASKED = "did not answer a moment ago"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_evidence_is_sealed_once_the_store_is_back(stage: Stage, when: str) -> None:
    way = Way(stage.access.endpoint_url or "")

    async def close(pod: RunningPod) -> None:
        way.open = when == "before"

    stage.worker.before = close
    way.open = when == "after"
    stage.request()
    async with way.running():
        rule = stage.settings.destinations[0].model_copy(update={"operator_endpoint": way.endpoint})
        settings = stage.settings.model_copy(update={"destinations": (rule,)})
        async with stage.operating(settings):
            with anyio.fail_after(45):
                await stage.cluster.until(
                    "events",
                    lambda events: [one for one in events if "Retrying" in json.dumps(one)],
                    NAMESPACE,
                )
            # How far it came depends on how many connections were still open.
            assert stage.get()["status"]["phase"] in {"Pending", "Capturing", "Sealing"}
            way.open = True
            status = await stage.finished()
    assert len(stage.worker.runs) == 1
    verification = await verify(status["location"], key=stage.public_key, access=stage.access)
    assert verification.problems == ()
