"""S3 servers with manners of their own, as real processes: moto and s3rver.

Neither holds anybody to a policy; `lab.seaweed` does. moto takes all that AWS takes; s3rver knows
neither checksums nor conditions nor versions.
"""

from __future__ import annotations

import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from forensics_core.storage.s3.client import S3Access, s3_client
from lab.process import LabError, daemon, free_ports, wait_until_ready

S3RVER = Path(__file__).parents[1] / ".lab/s3rver/node_modules/.bin/s3rver"
ATTEMPTS = 3
"""Another process may take a port before the server does."""

Command = Callable[[Path, int], Sequence[str | Path]]


@dataclass(frozen=True, slots=True)
class StoreServer:
    """One that answers."""

    name: str
    endpoint: str
    key: str

    def access(self) -> S3Access:
        """Return how to reach it."""
        return S3Access(self.endpoint, "us-east-1", self.key, self.key, attempts=3)

    async def create_bucket(self, name: str) -> str:
        """Make a bucket and return its name."""
        async with s3_client(self.access()) as client:
            await client.create_bucket(Bucket=name)
        return name


@contextmanager
def running_moto() -> Iterator[StoreServer]:
    """Run moto's server for the block. Raises `LabError` if it does not come up."""
    program = Path(sys.executable).with_name("moto_server")
    with _running("moto", lambda _, port: [program, "-H", "127.0.0.1", "-p", str(port)]) as found:
        yield StoreServer("moto", found, "testing")


@contextmanager
def running_s3rver(program: Path = S3RVER) -> Iterator[StoreServer]:
    """Do the same for s3rver, whose only key is `S3RVER`."""
    if not program.exists():
        raise LabError("s3rver is not installed", hint="Run lab/install.sh s3rver")
    with _running("s3rver", _s3rver) as found:
        yield StoreServer("s3rver", found, "S3RVER")


def _s3rver(folder: Path, port: int) -> Sequence[str | Path]:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    return [S3RVER, "--directory", data, "--address", "127.0.0.1", "--port", str(port)]


@contextmanager
def _running(name: str, command: Command) -> Iterator[str]:
    with ExitStack() as stack:
        yield _start(name, command, stack)


def _start(name: str, command: Command, stack: ExitStack) -> str:
    for _ in range(ATTEMPTS - 1):
        with suppress(LabError):
            return stack.enter_context(_serve(name, command))
    return stack.enter_context(_serve(name, command))


@contextmanager
def _serve(name: str, command: Command) -> Iterator[str]:
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix=f"lab-{name}-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log"
        with daemon(command(Path(folder), port), log) as process:
            wait_until_ready(name, lambda: _answers(endpoint), process, log)
            yield endpoint


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=5).close()  # noqa: S310 - our own, on loopback
    except urllib.error.HTTPError:
        return True  # A refusal is an answer.
    except OSError:
        return False
    return True
