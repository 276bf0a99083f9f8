"""Whether a program leaves those who ask how it is without an answer."""

from __future__ import annotations

import anyio
import pytest

from bench.stall import asking
from forensics_core.service.health import health_server
from lab.process import free_ports


async def test_every_answer_is_timed() -> None:
    asked = anyio.Event()

    async def alive() -> bool:
        asked.set()
        return True

    async with health_server(0, ready=alive, alive=alive) as port, asking(port) as answers:
        await asked.wait()
    assert answers
    assert all(milliseconds > 0 for milliseconds in answers)


async def test_who_does_not_listen_gives_no_answer() -> None:
    (port,) = free_ports(1)
    async with asking(port) as answers:
        pass
    assert answers == []


async def test_a_failure_meanwhile_ends_the_asking() -> None:
    (port,) = free_ports(1)
    with pytest.raises(LookupError):
        async with asking(port):
            raise LookupError
