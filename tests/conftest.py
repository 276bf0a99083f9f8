"""What all tests share: real servers, started once, and guards against accidents."""

from __future__ import annotations

import gc
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import anyio
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

from lab.containerd import Containerd, running_containerd
from lab.docker import DockerEngine, running_docker_engine
from lab.images import busybox_rootfs
from lab.process import end_politely
from lab.seaweed import S3Server, running_s3_server
from lab.sink import StoreSink, running_sink

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

OUR_PACKAGES = ["forensics_core", "forensics_loopback", "collector", "slackbot"]
SERVERS = {"docker": pytest.mark.docker, "containerd": pytest.mark.containerd, "s3": pytest.mark.s3}
"""The marks that tests get for using a fixture of that name."""

LOADER = "botocore/loaders.py"
"""Where a new client looks for its service's description: what is large has been read before, in a
thread (`forensics_core.storage.s3.client`); a few look-ups of names that do not exist remain."""


def pytest_configure() -> None:
    """Stop the servers also when the run is cancelled from outside.

    Hear Ctrl-C, and let our processes hear it, though whoever started us in the background did not.
    """
    end_politely()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave modules and tests, which all stay, out of what the garbage collector looks through."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server, so that `-m "not docker"` leaves them out."""
    for item in items:
        for name in SERVERS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(SERVERS[name])


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Raise `BlockingError` where our code blocks the event loop."""
    with blockbuster_ctx(OUR_PACKAGES) as guard:
        for function in ("os.stat", "os.listdir"):
            guard.functions[function].can_block_in(LOADER, "load_service_model")
        # Measuring coverage takes a lock of its own, which no thread of ours ever holds for long.
        guard.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", "lock_data")
        yield guard


@pytest.fixture(autouse=True)
def no_foreign_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own cloud accounts and clusters out of reach."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def use_env(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    """Set environment variables for the test: `use_env(s3.env(Identity.COLLECTOR))`."""

    def use(variables: Mapping[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture(scope="session")
def docker() -> Iterator[DockerEngine]:
    """A Docker Engine: this machine's, or a private one."""
    with running_docker_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def image(docker: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image with `busybox_rootfs` in it."""
    rootfs: Path = busybox_rootfs(tmp_path_factory.mktemp("image") / "rootfs")
    return anyio.run(docker.import_image, rootfs)


@pytest.fixture(scope="session")
def containerd() -> Iterator[Containerd]:
    """A private containerd with its CRI plugin."""
    with running_containerd() as engine:
        yield engine


@pytest.fixture(scope="session")
def cri_image(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image on `containerd` with `busybox_rootfs` in it."""
    rootfs: Path = busybox_rootfs(tmp_path_factory.mktemp("image") / "rootfs")
    return anyio.run(containerd.import_image, rootfs)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A strict S3 server."""
    with running_s3_server() as server:
        yield server


@pytest.fixture
async def bucket(s3: S3Server) -> str:
    """A new bucket that the collector may only add to; neither versioned nor locked."""
    return await s3.create_bucket(f"cases-{secrets.token_hex(4)}")


@pytest.fixture
async def locked_bucket(s3: S3Server) -> str:
    """The same, versioned and with Object Lock."""
    return await s3.create_bucket(f"locked-{secrets.token_hex(4)}", object_lock=True)


@pytest.fixture
def sink() -> Iterator[StoreSink]:
    """An S3 endpoint that discards everything, and misbehaves on demand."""
    with running_sink() as server:
        yield server
