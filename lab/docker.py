"""Containers to capture: on the Docker Engine of this machine, or on a private one.

What the lab makes carries a label and is removed at the end; everything else is left alone::

    async with docker_engine() as engine:
        image = await engine.import_image(busybox_rootfs(folder / "rootfs"))
        async with engine.container(image) as container:
            await engine.exec(container, "echo hello > /tmp/greeting")
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from aiodocker import Docker, DockerError
from aiodocker.containers import DockerContainer

from forensics_core._internal import children
from lab.dockerd import find_engine, private_engine
from lab.engine import FOREVER, ContainerEngine
from lab.process import LabError, in_thread

LABEL = "kube-forensics.lab"
"""The label on all that the lab makes; its value is the engine's `run_id`."""

_INSIDE = """[ "$(cat /etc/hostname)" = "$(hostname)" ] || { echo "not in the container"; exit 97; }
"""
"""Begins every script. Under a dockerd that was started in a chroot, exec enters the container's
other namespaces, but the *host's* file system: nothing may be changed there."""


@dataclass(frozen=True, slots=True)
class DockerEngine(ContainerEngine):
    """A Docker Engine that answers. It is tied to no event loop: each call opens a connection."""

    host: str
    """`unix://PATH`."""
    run_id: str
    """The value of `LABEL` on what is made here."""
    private: bool
    """Whether the lab started it."""

    @property
    def env(self) -> dict[str, str]:
        """The variable that leads Docker's clients here."""
        return {"DOCKER_HOST": self.host}

    def client(self) -> Docker:
        """Return a client, to be used in `async with`."""
        return Docker(url=self.host)

    async def import_image(self, rootfs: Path, name: str = "") -> str:
        """Make an image out of a folder, and return its name: `lab/RUN:NUMBER` unless given."""
        name = name or f"lab/{self.run_id}:{secrets.token_hex(4)}"
        repo, _, tag = name.rpartition(":")
        params = {
            "fromSrc": "-",
            "repo": repo,
            "tag": tag,
            "changes": f"LABEL {LABEL}={self.run_id}",
        }
        async with (
            self.client() as client,
            client.session.post(
                "http://localhost/images/create", params=params, data=_tar(rootfs)
            ) as answer,
        ):
            text = await answer.text()
        # The status is sent before the work is done: what fails later is in the stream.
        if answer.status != 200 or '"error"' in text:
            raise LabError(f"The image {name} could not be imported: {text.strip()}")
        return name

    async def create(
        self,
        image: str,
        command: Sequence[str] = FOREVER,
        *,
        name: str = "",
        capabilities: Sequence[str] = (),
        binds: Sequence[str] = (),
        tmpfs: Mapping[str, str] | None = None,
        **config: Any,
    ) -> str:
        """Create a container without network, and return its ID.

        `capabilities` are added to Docker's default ones; `binds` and `tmpfs` are Docker's; other
        arguments go into the request as they are (`Env`, `User`, `Tty`, ...).
        """
        host = {
            "NetworkMode": "none",
            "CapAdd": [*capabilities],
            "Binds": [*binds],
            # The default of an engine that was there before may be another one.
            "LogConfig": {"Type": "json-file"},
        }
        request: dict[str, Any] = {
            "Image": image,
            "Cmd": [*command],
            "Labels": {LABEL: self.run_id},
            "HostConfig": {**host, "Tmpfs": dict(tmpfs or {})},
            **config,
        }
        async with self.client() as client:
            made = await client.containers.create(request, name=name or None)
            return str(made.id)

    async def start(self, container: str) -> None:
        """Start a container."""
        async with self._handle(container) as handle:
            await handle.start()

    async def stop(self, container: str) -> None:
        """Stop a container: SIGTERM, and SIGKILL after 5 s."""
        async with self._handle(container) as handle:
            await handle.stop(t=5)

    async def wait(self, container: str) -> int:
        """Wait until a container ended, and return its exit code."""
        async with self._handle(container) as handle:
            return int((await handle.wait())["StatusCode"])

    async def pause(self, container: str) -> None:
        """Freeze a container."""
        async with self._handle(container) as handle:
            await handle.pause()

    async def unpause(self, container: str) -> None:
        """Let a frozen container go on."""
        async with self._handle(container) as handle:
            await handle.unpause()

    async def remove(self, container: str) -> None:
        """Remove a container and its anonymous volumes, whatever its state; gone is fine too."""
        async with self._handle(container) as handle:
            try:
                await handle.delete(force=True, v=True)
            except DockerError as error:
                if error.status not in {404, 409}:  # gone, or going
                    raise

    async def inspect(self, container: str) -> dict[str, Any]:
        """Return what the engine says of a container."""
        async with self._handle(container) as handle:
            return dict(await handle.show())

    async def pid(self, container: str) -> int:
        """Return the process ID, on this machine, of a running container's first process."""
        return int((await self.inspect(container))["State"]["Pid"])

    async def exec(self, container: str, script: str, *, user: str = "root") -> str:
        """Run a shell script in a container; return its output. Raises `LabError` if it fails.

        The image needs `cat` and `hostname`, and the container a host name of its own.
        """
        async with self._handle(container) as handle:
            run = await handle.exec(["/bin/sh", "-ec", _INSIDE + script], user=user)
            output = b""
            async with run.start(detach=False) as stream:
                while message := await stream.read_out():
                    output += message.data
            code = (await run.inspect())["ExitCode"]
        if code != 0:
            raise LabError(f"The script ended with {code}: {output.decode(errors='replace')}")
        return output.decode(errors="surrogateescape")

    async def exec_detached(self, container: str, *command: str, tty: bool = True) -> str:
        """Begin an exec session that goes on, with a terminal of its own; return its ID."""
        async with self._handle(container) as handle:
            run = await handle.exec([*command], tty=tty)
            await run.start(detach=True)
            return str(run.id)

    async def clean_up(self) -> None:
        """Remove every container and image that this engine's user made."""
        mine = {"label": [f"{LABEL}={self.run_id}"]}
        async with self.client() as client:
            for container in await client.containers.list(all=1, filters=json.dumps(mine)):
                await self.remove(container.id)
            for image in await client.images.list(filters=mine):
                await client.images.delete(image["Id"], force=True)

    @asynccontextmanager
    async def _handle(self, container: str) -> AsyncIterator[DockerContainer]:
        async with self.client() as client:
            yield client.containers.container(container)


def docker_engine() -> AbstractAsyncContextManager[DockerEngine]:
    """Use the engine of this machine for the block, or a private one. Raises `LabError`."""
    return in_thread(running_docker_engine())


@contextmanager
def running_docker_engine() -> Iterator[DockerEngine]:
    """Do the same as `docker_engine`, for callers without an event loop."""
    host = find_engine()
    if host:
        with _tidy(DockerEngine(host, secrets.token_hex(4), private=False)) as engine:
            yield engine
    else:
        with (
            private_engine() as own,
            _tidy(DockerEngine(own, secrets.token_hex(4), True)) as engine,
        ):
            yield engine


@contextmanager
def running_own_engine(*options: str) -> Iterator[DockerEngine]:
    """Run a private engine with these options of dockerd for the block. Raises `LabError`."""
    with (
        private_engine(*options) as own,
        _tidy(DockerEngine(own, secrets.token_hex(4), True)) as engine,
    ):
        yield engine


@contextmanager
def _tidy(engine: DockerEngine) -> Iterator[DockerEngine]:
    try:
        yield engine
    finally:
        anyio.run(engine.clean_up)


async def _tar(folder: Path) -> AsyncIterator[bytes]:
    """Stream a folder as a tar archive, owned by root whoever made it."""
    owner = [] if os.geteuid() == 0 else ["--owner=0", "--group=0"]
    command = ["tar", "-C", str(folder), "--numeric-owner", *owner, "--xattrs", "-cf", "-", "."]
    async with await children.start(command, stderr=subprocess.DEVNULL) as process:
        assert process.stdout  # noqa: S101  # a pipe, as asked for
        async for block in process.stdout:
            yield block
    if process.returncode:
        raise LabError(f"tar could not read {folder}")
