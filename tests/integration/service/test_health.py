"""`/healthz`, `/readyz` and `/metrics`, and the port that they are served on."""

from __future__ import annotations

import socket

import aiohttp
import anyio
import pytest

from forensics_core.errors import UsageError
from forensics_core.service.health import Contact, health_server
from forensics_core.service.http import PortUnavailable, http_server, listener

LOCAL = "127.0.0.1"


async def ask(port: int, path: str, host: str = LOCAL) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}{path}") as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def always() -> bool:
    return True


async def test_it_is_alive_before_it_is_ready() -> None:
    answers = iter([False, True])

    async def answer() -> bool:
        return next(answers)

    async with health_server(0, ready=answer) as port:
        assert (await ask(port, "/healthz"))[0] == 200
        assert (await ask(port, "/readyz"))[0] == 503
        assert (await ask(port, "/readyz"))[0] == 200
        assert (await ask(port, "/"))[0] == 404


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="the kernel has no IPv6")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_probes_come_by_either_family(host: str) -> None:
    async with health_server(0, ready=always) as port:
        assert (await ask(port, "/healthz", host))[0] == 200


async def test_without_ipv6_there_is_still_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    async with health_server(0, ready=always) as port:
        assert (await ask(port, "/healthz"))[0] == 200


async def test_a_port_that_is_taken_is_said_plainly() -> None:
    async with health_server(0, ready=always) as port:
        with pytest.raises(UsageError, match=f"The port {port} cannot be served"):
            async with health_server(port, ready=always):
                raise AssertionError("two cannot serve one port")


def test_an_answer_shows_for_a_while_that_the_api_server_is_there() -> None:
    clock = iter([100.0, 114.0, 115.0])
    contact = Contact(15, lambda: next(clock))
    contact.heard()
    assert contact.recent
    assert not contact.recent


async def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with listener(0) as taken, pytest.raises(PortUnavailable) as caught:
        listener(taken.getsockname()[1])
    assert "Cannot listen on port" in str(caught.value)
    assert "another port" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_cancelled_start_gives_the_port_back() -> None:
    with listener(0) as taken:
        port = taken.getsockname()[1]
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with http_server(port, []):
            raise AssertionError("it was cancelled before it served")
    listener(port).close()


async def test_what_is_not_alive_is_unavailable() -> None:
    async def dead() -> bool:
        return False

    async with health_server(0, ready=always, alive=dead) as port:
        assert (await ask(port, "/healthz"))[0] == 503
        assert (await ask(port, "/metrics"))[0] == 404
