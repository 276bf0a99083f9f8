"""The ways to S3 that procedures are compared on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.sink import RemoteSink, remote_sink
from lab.certificate import make_certificate


@dataclass(frozen=True, slots=True)
class EndpointLink:
    """A way to the endpoint."""

    words: str
    """To go on from 'over'."""
    tls: bool = False
    rate: float = 0
    """Bytes per second of all connections together; 0 is as fast as this machine can."""


LINKS = {
    "http": EndpointLink("HTTP on loopback"),
    "https": EndpointLink("HTTPS on loopback", tls=True),
    "gigabit": EndpointLink("HTTP at 1 Gbit/s", rate=125e6),
    "slow": EndpointLink("HTTP at 100 Mbit/s", rate=12.5e6),
}
"""By the names for `--link`."""


@contextmanager
def open_link(link: EndpointLink, folder: Path) -> Iterator[RemoteSink]:
    """Run an endpoint at the other end for the block; `folder` is for its certificate."""
    certificate = make_certificate(folder) if link.tls else None
    with remote_sink(tls=certificate, rate=link.rate) as sink:
        yield sink
